// The loop over time, for every unit and every sink.
//
// Time goes in tiles of a few steps. For each: the input side of all its steps as one product (or rows of a
// gate table, by pointer), the steps themselves one after the other, then the sink takes the tile. Only the
// tile's states exist at any time, in a ring that starts with the state that the tile before left.
#pragma once

#include "cpu/gemm.h"
#include "cpu/memory.h"
#include "sinks/store.h"

namespace rnnmem {
inline namespace RNNMEM_ISA {

// Streams that step together, and the rows (steps x streams) of a tile: enough to make products of the input
// side and of the recall maps, few enough to stay in the second-level cache.
inline constexpr int64_t kPassStreams = 16, kTileRows = 128, kTileSteps = 64;

// Where the rows of a state part are: before the step, and after it.
template <typename T>
struct PartRows {
  const T* const* from;
  T* const* to;
};

// The input side of the gates of some rows: W_ih x + b_ih as one product, or rows of a gate table, by
// pointer.
template <typename T, int NV>
class InputSide {
 public:
  InputSide(const Scan<T>& scan, const Panels& panels, int64_t rows_most)
      : scan_(scan),
        panels_(panels),
        gates_(scan.weight_ih ? rows_most * panels.row() : 0),
        gate_row_(rows_most) {}

  // Of steps [t, t + steps) of streams [stream, stream + rows): packed gates, by row.
  const T* const* take(int64_t t, int64_t steps, int64_t stream, int64_t rows) {
    for (int64_t i = 0; i < steps; ++i)
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t at = (t + i) * scan_.time_stride + (stream + r) * scan_.stream_stride;
        gate_row_.get()[i * rows + r] =
            scan_.inputs + (scan_.tokens ? scan_.tokens[at] * scan_.row_size : at);
      }
    if (scan_.weight_ih) {
      const Rows<T> x{{gate_row_.get(), nullptr}, 1, steps * rows, scan_.input_size, 1};
      product<T, NV>(x, scan_.weight_ih, scan_.bias_ih, panels_.count(), gates_.get(), panels_.row());
      for (int64_t i = 0; i < steps * rows; ++i) gate_row_.get()[i] = gates_.get() + i * panels_.row();
    }
    return gate_row_.get();
  }

 private:
  const Scan<T>& scan_;
  const Panels panels_;
  Buffer<T> gates_;
  Buffer<const T*> gate_row_;
};

// Receives the recurrent side of a panel and makes the step of its hidden units: no gate leaves the
// registers.
template <typename T, typename Unit>
struct MakeStep {
  static constexpr int G = Unit::gates, S = Unit::state_parts;
  const T* const* gates;  // the packed input side, by row
  PartRows<T> part[S];
  int64_t first;  // panel
  T leak;

  template <int MR, int NV>
  RNNMEM_INLINE void take(const Vec<T> (&acc)[MR][NV], int64_t row, int64_t after = 0) const {
    constexpr int64_t W = lanes<T>, blocks = NV / G;
    const int64_t panel = first + after;
    for (int r = 0; r < MR; ++r)
      for (int b = 0; b < blocks; ++b) {
        const int64_t unit = (panel * blocks + b) * W;
        Vec<T> x[G], h[G], state[S];
        for (int g = 0; g < G; ++g) {
          x[g] = load(gates[row + r] + (panel * NV + b * G + g) * W);
          h[g] = acc[r][b * G + g];
        }
        for (int s = 0; s < S; ++s) state[s] = load(part[s].from[row + r] + unit);
        Unit::template step<Math<T>>(x, h, state, broadcast(leak));
        for (int s = 0; s < S; ++s) store(part[s].to[row + r] + unit, state[s]);
      }
  }
};

template <typename T, typename Unit>
class Loop {
  static constexpr int G = Unit::gates, S = Unit::state_parts, NV = G == 1 ? 2 : G;
  static constexpr int64_t W = lanes<T>;

 public:
  // A tile's steps depend on B alone, never on how streams were dealt to threads: the tile is where a sink
  // rounds its sums.
  explicit Loop(const Scan<T>& scan)
      : scan_(scan),
        panels_(scan.hidden_size, G, W),
        rows_most_(smaller(scan.streams, kPassStreams)),
        steps_most_(smaller(smaller(kTileSteps, kTileRows / rows_most_), scan.steps + 1)),
        ld_(panels_.padded_size()),
        input_(scan, panels_, rows_most_ * steps_most_),
        zero_(ld_),
        from_(S * rows_most_),
        to_(S * rows_most_),
        ring_(S * (steps_most_ + 1) * rows_most_ * ld_) {}

  // Streams [first, last) from the first step to the last, at most kPassStreams at a time.
  template <typename Sink, typename To>
  void run(const To& to, int64_t first, int64_t last) {
    Sink sink(scan_, to, rows_most_, steps_most_);
    for (; first < last; first += kPassStreams) pass(sink, first, smaller(kPassStreams, last - first));
  }

 private:
  // Parts beyond the output are kept for each step of the tile only if they are features.
  bool kept(int s) const { return s == 0 || scan_.full; }
  T* slot(int s, int64_t step, int64_t rows) const {
    return ring_.get() + (s * (steps_most_ + 1) * rows_most_ + (kept(s) ? step : 0) * rows) * ld_;
  }

  template <typename Sink>
  void pass(Sink& sink, int64_t stream, int64_t rows) {
    const int64_t H = scan_.hidden_size;
    for (int s = 0; s < S; ++s)
      for (int64_t r = 0; r < rows; ++r)
        copy(slot(s, 0, rows) + r * ld_, scan_.state + (s * scan_.streams + stream + r) * H, H);
    at_rest_ = true;
    for (int64_t i = 0; i < rows * ld_; ++i) at_rest_ &= slot(0, 0, rows)[i] == 0;
    at_rest_ = at_rest_ && finite_weights();
    for (int64_t t = 0; t < scan_.steps; t += steps_most_) {
      const int64_t steps = smaller(steps_most_, scan_.steps - t);
      const T* const* gates = input_.take(t, steps, stream, rows);
      for (int64_t i = 0; i < steps; ++i) step(gates + i * rows, t + i, i, stream, rows);
      TimeTile<T> tile{{}, scan_.full ? S : 1, ld_, t, steps, stream, rows};
      for (int s = 0; s < tile.parts; ++s) tile.part[s] = slot(s, 1, rows);
      sink.take(tile);
      for (int s = 0; s < S; ++s)
        if (kept(s)) copy(slot(s, 0, rows), slot(s, steps, rows), rows * ld_);
    }
    for (int s = 0; s < S; ++s)
      for (int64_t r = 0; r < rows; ++r)
        copy(scan_.last_state + (s * scan_.streams + stream + r) * H, slot(s, 0, rows) + r * ld_, H);
  }

  bool finite_weights() const {
    Vec<T> sum{};  // of zeros, or NaN
    for (int64_t i = 0; i < panels_.row() * scan_.hidden_size; i += W)
      sum += load(scan_.weight_hh + i) * broadcast(T(0));
    return sum_lanes<T, RNNMEM_VECTOR_BYTES>(sum) == 0;
  }

  // Step i of the tile: every panel reads all of h before and writes its own units of h after.
  void step(const T* const* gates, int64_t t, int64_t i, int64_t stream, int64_t rows) {
    MakeStep<T, Unit> make{gates, {}, 0, scan_.leak};
    for (int s = 0; s < S; ++s) {
      for (int64_t r = 0; r < rows; ++r) {
        const bool reset = scan_.reset && scan_.reset[t * scan_.streams + stream + r];
        from_.get()[s * rows + r] = reset ? zero_.get() : slot(s, i, rows) + r * ld_;
        to_.get()[s * rows + r] = slot(s, i + 1, rows) + r * ld_;
      }
      make.part[s] = {from_.get() + s * rows, to_.get() + s * rows};
    }
    // Nothing comes back from an output of zero, as most streams start with, by weights that are finite.
    const Rows<T> h{{make.part[0].from, nullptr}, 1, rows, at_rest_ ? 0 : scan_.hidden_size, 1};
    at_rest_ = false;
    constexpr int together = NV <= 2 ? 4 : 2;
    for (int64_t& panel = make.first; panel < panels_.count();) {
      const Columns<T> w{scan_.weight_hh + panel * scan_.hidden_size * NV * W, NV * W};
      const T* bias = scan_.bias_hh + panel * NV * W;
      if (rows == 1 && panels_.count() - panel >= together) {
        row_of_panels<T, NV, together>(h.part[0][0], h.size, w, scan_.hidden_size * NV * W, bias, make);
        panel += together;
      } else {
        panel_product<T, NV>(h, w, bias, make);
        ++panel;
      }
    }
  }

  const Scan<T>& scan_;
  const Panels panels_;
  const int64_t rows_most_, steps_most_, ld_;
  bool at_rest_ = false;  // every stream's output is zero, and nothing comes back of it
  InputSide<T, NV> input_;
  Buffer<T> zero_;
  Buffer<const T*> from_;
  Buffer<T*> to_;
  Buffer<T> ring_;
};

}  // namespace RNNMEM_ISA
}  // namespace rnnmem
