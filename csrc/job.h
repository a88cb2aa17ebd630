// What a scan is asked to do, as plain data: the ops fill it in, the kernels read it.
//
// Dimensions: T steps, B streams, I input size, H hidden size, G gates, S state parts, F features, L maps,
// d semantic dimension, R directions, W lanes of a vector.
#pragma once

#include <cstdint>
#include <type_traits>

namespace rnnmem {

// From `first` on, without `last`.
struct Range {
  int64_t first, last;
};

// Threads that make every step of the same streams together: each member makes some of the hidden units, and
// all meet before the next step reads them. A thread may be several members, down to the whole team.
struct Team {
  struct alignas(64) Member {  // a cache line each: nobody's waiting slows another down
    int64_t meetings = 0;
  };
  int64_t size;
  Member* member;
  void* scratch = nullptr;  // memory of the first, which all use
};

// Streams that step together, and those that one thread takes at the least.
inline constexpr int64_t kPassStreams = 16, kGroupStreams = 8;

// Steps of a tile of time: enough for products of the input side and of the recall maps, few enough for its
// rows (steps x streams) to stay in the second-level cache. They depend on B alone, never on how streams were
// dealt to threads: the tile is where a sink rounds its sums.
inline constexpr int64_t kTileRows = 128, kTileSteps = 64;
inline int64_t tile_steps(int64_t streams) {
  const int64_t most = kTileRows / (streams < kPassStreams ? streams : kPassStreams);
  return most < kTileSteps ? most : kTileSteps;
}

// What one thread makes of a scan: these streams, as these members of their team.
struct Share {
  Range streams;
  Team& team;
  Range members;
};

// How a matrix [G * H, K] is packed: panels of `vectors` vectors, [panel][k][vector][lane], the last panel
// padded with zeros. A panel holds all gates of `blocks` * W hidden units, so that the accumulators of one
// panel are all that the unit's step needs. One-gate matrices pair two blocks to keep enough of them in
// flight.
struct Panels {
  int64_t size, blocks, vectors, lanes;

  Panels(int64_t size, int64_t gates, int64_t lanes)
      : size(size), blocks(gates == 1 ? 2 : 1), vectors(gates == 1 ? 2 : gates), lanes(lanes) {}
  int64_t units() const { return blocks * lanes; }
  int64_t columns() const { return vectors * lanes; }
  int64_t count() const { return (size + units() - 1) / units(); }
  int64_t row() const { return count() * columns(); }
  int64_t padded_size() const { return count() * units(); }
};

// Two bfloat16 of one row side by side, the first in the lower half.
using Pair = uint32_t;

// How many elements so many numbers of a row take; the last pair of an odd number ends in zero.
template <typename E>
constexpr int64_t elements(int64_t numbers) {
  return numbers;
}
template <>
constexpr int64_t elements<Pair>(int64_t numbers) {
  return (numbers + 1) / 2;
}

// How large a scan is, and what of it a sink is handed.
struct Extent {
  int64_t steps, streams, input_size, hidden_size;
  bool full;                  // every state part is a feature, not the output alone
  int64_t streams_per_group;  // streams that one thread takes together, fixed by the shapes alone
};

// One layer, its inputs and its state: T what is computed in, W what weights are kept in, X what products
// read. A row of x is `inputs` at (t, b), or the row of `inputs` that the token at (t, b) names; without
// `weight_ih` that row already holds the packed gates W_ih x + b_ih. Strides count elements.
template <typename T, typename W = T, typename X = T>
struct Scan : Extent {
  const W *weight_ih, *weight_hh;
  const T *bias_ih, *bias_hh;
  T leak;
  const X* inputs;
  const int64_t* tokens;
  int64_t time_stride, stream_stride, row_size;
  const bool* reset;  // [T, B] or null
  const T* state;     // [S, B, H]
  T* last_state;      // [S, B, H]
};

// The store sink: every step's features, rounded if they are kept in fewer bits than T has.
template <typename T, typename Kept = T>
struct Store {
  Kept* features;  // [T, B, F]
};

// A bfloat16: the upper half of a float.
using Half = uint16_t;

// Where the rows of a layer as torch.nn has it are: those of (t, b) at t * time_stride + b * stream_stride.
struct Layout {
  int64_t steps, streams, input_size, hidden_size;
  int64_t time_stride, stream_stride;
};

// A few steps of one layer, its weights as torch.nn lays them out: [G * H, I], [G * H, H], biases or null.
// What is computed in is T; weights are kept in W, inputs and outputs in X.
template <typename T, typename W = T, typename X = T>
struct Few : Layout {
  const W *weight_ih, *weight_hh;
  const T *bias_ih, *bias_hh;
  const X* inputs;
  const T* state[2];  // [B, H] by part, or null for zeros
  T* last_state[2];   // [B, H] by part
  X* output;          // [T, B, H]
};

// The way back through a scan's steps: what becomes of the gradient of its last state. The scan is one from
// `state` on without resets; its `last_state` takes the gradient of `state`.
template <typename T>
struct Pull {
  const T* weight;    // W_hh transposed: packed [H, G * ld], ld the padded size of a one-gate matrix
  const T* states;    // [T, B, S * H], after each step
  const T* gradient;  // [S, B, H], of the state after the last step
  const T* above;     // [T, B, H], added to the gradient of each step's output, or null
  double* squares;    // [T, B], squared length of the gradient of the state before each step
  T* sides;           // [T, B, G * H], gradient of the gates' input side, or null
};

// The project sink: rnnmem.scan.Projection with its maps packed by groups of `maps_per_group`.
template <typename T>
struct Project {
  const T *weight, *bias;  // packed [map groups, panels, F or 1, 2, W]
  int64_t maps, maps_per_group, dimension;
  const T* targets;  // [N, history + T, B, d]
  int64_t history;
  const int64_t *buffer, *lag, *min_age;  // [L]
  const int64_t* age;                     // [T, B]
  int64_t step, moment_every, coordinate_every, coordinate_maps;
  const T* directions;  // packed [panels, d, 2, W]
  int64_t direction_count;
  T* distance;     // [T, B, L]
  double* moment;  // [stream groups, L, d, d], zeroed by the caller; only the panels from the diagonal on
  T* coordinates;  // [T', B, coordinate_maps, R]
};

// Sums over some rows of what is at two kinds of place: the left factor of row r is `pieces` rows of `left`
// side by side, those at row[r] + left_at[a]; its l-th target is the row of `right` at row[r] + right_at[l].
// All about their pilots; F = pieces * piece. Everything summed is zeroed by the caller.
template <typename T>
struct Moments {
  const T *left, *right;
  const int64_t *row, *left_at, *right_at;
  int64_t rows, piece, pieces, dimension, maps;
  const double *left_pilot, *right_pilot;  // [F], [L, d]
  double* sum;                             // [F]
  double* square;                          // [F, F]; only the panels from the diagonal on
  double* target;                          // [L, d]
  double* cross;                           // [L, F, d]

  int64_t features() const { return piece * pieces; }
};

// The work of `Moments` is dealt out in so many shares, each with some of the targets and some columns of the
// square. Every sum is made in one of them: how many threads take them shows in no bit.
inline constexpr int64_t kMomentShares = 16;

// Steps are counted in 64 bits with room to spare, so that no sum of two of them overflows.
inline constexpr int64_t kLastStep = int64_t{1} << 62;

// The first step from `step` on that is divisible by `every`, counted in multiples of `every`.
inline int64_t first_multiple(int64_t step, int64_t every) {
  return step / every + (step % every != 0);
}

}  // namespace rnnmem
