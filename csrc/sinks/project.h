// The project sink: holds every state against what was expressed in the semantic space and forgets it.
//
// For each group of maps: y = P h + b for all rows of the tile (one product), then map by map the distance to
// the targets, the second moments of the residuals that count, and coordinates along a few directions.
#pragma once

#include "cpu/gemm.h"
#include "cpu/memory.h"
#include "sinks/store.h"

namespace rnnmem {
inline namespace RNNMEM_ISA {

template <typename T>
class ProjectSink {
  static constexpr int NV = 2;
  static constexpr int64_t W = lanes<T>, kPanel = NV * W;

 public:
  ProjectSink(const Extent& scan, const Project<T>& to, int64_t rows, int64_t steps)
      : scan_(scan),
        to_(to),
        columns_(Panels(smaller(to.maps, to.maps_per_group) * to.dimension, 1, W).padded_size()),
        residual_step_(Panels(to.dimension, 1, W).padded_size()),
        recalled_(rows * steps * columns_),
        residual_(rows * steps * residual_step_),
        row_(rows * steps * 2),
        point_(rows),
        component_(to.dimension),
        in_moment_(steps) {
    for (int64_t i = 0; i < to.dimension; ++i) component_.get()[i] = residual_.get() + i;
  }

  void take(const TimeTile<T>& tile, const Place& place) {
    const int64_t count = tile.steps * tile.rows;
    for (int s = 0; s < tile.parts; ++s)
      for (int64_t i = 0; i < count; ++i) row_.get()[s * count + i] = tile.part[s] + i * tile.step;
    for (int64_t i = 0; i < tile.steps; ++i)
      in_moment_.get()[i] = (to_.step + tile.time + i) % to_.moment_every == 0;
    const Rows<T> features{{row_.get(), row_.get() + count}, tile.parts, count, scan_.hidden_size, 1};
    const Panels group(to_.maps_per_group * to_.dimension, 1, W);
    const int64_t weight_step = group.row() * tile.parts * scan_.hidden_size;
    for (int64_t first = 0, g = 0; first < to_.maps; first += to_.maps_per_group, ++g) {
      const Range mine = place.of(smaller(to_.maps - first, to_.maps_per_group));
      const Range panels{mine.first * to_.dimension / kPanel,
                         (mine.last * to_.dimension + kPanel - 1) / kPanel};
      product<T, NV>(features, to_.weight + g * weight_step, to_.bias + g * group.row(), panels,
                     recalled_.get(), columns_);
      for (int64_t at = mine.first; at < mine.last; ++at) {
        const T* recalled = recalled_.get() + at * to_.dimension;
        hold_against_targets(tile, first + at, recalled);
        if (first + at < to_.coordinate_maps) read_coordinates(tile, first + at, recalled);
      }
    }
  }

 private:
  // residual = recalled - target; returns its squared length.
  RNNMEM_INLINE T subtract(const T* recalled, const T* target, T* residual) const {
    const int64_t d = to_.dimension;
    Vec<T> squares{};
    int64_t j = 0;
    for (; j + W <= d; j += W) {
      const Vec<T> difference = load(recalled + j) - load(target + j);
      store(residual + j, difference);
      squares += difference * difference;
    }
    T rest = 0;
    for (; j < d; ++j) {
      residual[j] = recalled[j] - target[j];
      rest += residual[j] * residual[j];
    }
    return (d < W ? T(0) : sum_lanes<T, RNNMEM_VECTOR_BYTES>(squares)) + rest;
  }

  // Distances of one map for the whole tile, and its residual moments, one group of streams after the other.
  void hold_against_targets(const TimeTile<T>& tile, int64_t map, const T* recalled) {
    const int64_t d = to_.dimension, streams = scan_.streams;
    const int64_t kind = to_.buffer[map] * (to_.history + scan_.steps) + to_.history - to_.lag[map];
    for (int64_t r0 = 0; r0 < tile.rows; r0 += scan_.streams_per_group) {
      const int64_t r1 = smaller(tile.rows, r0 + scan_.streams_per_group);
      int64_t counted = 0;
      for (int64_t i = 0; i < tile.steps; ++i) {
        const int64_t t = tile.time + i;
        const T* target = to_.targets + ((kind + t) * streams + tile.stream) * d;
        const int64_t* age = to_.age + t * streams + tile.stream;
        T* distance = to_.distance + (t * streams + tile.stream) * to_.maps + map;
        for (int64_t r = r0; r < r1; ++r) {
          // Every residual is written, but only one that counts is kept from the next one's overwriting.
          T* residual = residual_.get() + counted * residual_step_;
          distance[r * to_.maps] =
              subtract(recalled + (i * tile.rows + r) * columns_, target + r * d, residual);
          counted += in_moment_.get()[i] && age[r] >= to_.min_age[map];
        }
      }
      if (counted) {
        const int64_t group = (tile.stream + r0) / scan_.streams_per_group;
        add_moment(counted, to_.moment + (group * to_.maps + map) * d * d);
      }
    }
  }

  // Residuals are both factors: rows are their components, k runs over the rows that count. Only panels from
  // the diagonal on are computed: the moment is symmetric.
  void add_moment(int64_t counted, double* moment) {
    const int64_t d = to_.dimension;
    for (int64_t column = 0; column < d; column += kPanel) {
      const Rows<T> a{{component_.get(), nullptr}, 1, smaller(d, column + kPanel), counted, residual_step_};
      const Columns<T> w{residual_.get() + column, residual_step_};
      const AddWide<T> add{moment + column, d, smaller(kPanel, d - column)};  // a tile's sum is in T
      panel_product<T, NV>(a, w, static_cast<const T*>(nullptr), add);
    }
  }

  struct WriteCoordinates {
    T* to;
    int64_t step, width;
    template <int MR, int N>
    RNNMEM_INLINE void take(const Vec<T> (&acc)[MR][N], int64_t row) const {
      T values[N * W];
      for (int r = 0; r < MR; ++r) {
        for (int v = 0; v < N; ++v) store(values + v * W, acc[r][v]);
        for (int64_t j = 0; j < width; ++j) to[(row + r) * step + j] = values[j];
      }
    }
  };

  void read_coordinates(const TimeTile<T>& tile, int64_t map, const T* recalled) {
    const int64_t d = to_.dimension, directions = to_.direction_count;
    for (int64_t i = 0; i < tile.steps; ++i) {
      const int64_t step = to_.step + tile.time + i;
      if (step % to_.coordinate_every) continue;
      const int64_t taken = step / to_.coordinate_every - first_multiple(to_.step, to_.coordinate_every);
      for (int64_t r = 0; r < tile.rows; ++r) point_.get()[r] = recalled + (i * tile.rows + r) * columns_;
      T* out =
          to_.coordinates + ((taken * scan_.streams + tile.stream) * to_.coordinate_maps + map) * directions;
      for (int64_t column = 0; column < directions; column += kPanel) {
        const Rows<T> a{{point_.get(), nullptr}, 1, tile.rows, d, 1};
        const WriteCoordinates write{out + column, to_.coordinate_maps * directions,
                                     smaller(kPanel, directions - column)};
        panel_product<T, NV>(a, Columns<T>{to_.directions + column * d, kPanel},
                             static_cast<const T*>(nullptr), write);
      }
    }
  }

  const Extent& scan_;
  const Project<T>& to_;
  const int64_t columns_, residual_step_;
  Buffer<T> recalled_, residual_;
  Buffer<const T*> row_, point_, component_;
  Buffer<bool> in_moment_;
};

}  // namespace RNNMEM_ISA
}  // namespace rnnmem
