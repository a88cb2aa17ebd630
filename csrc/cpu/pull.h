// The way back through the loop over time: a gradient of the last state, pulled back step by step.
//
// All states are known, so the gates' sums of a tile of steps are two products. Then, from its last step to
// its first: the unit's step_backward, and one product that takes the gradient of the recurrent side to the
// output before.
#pragma once

#include "cpu/scan.h"

namespace rnnmem {
inline namespace RNNMEM_ISA {

// Where a panel's tile goes when it is added: row r at to + r * step.
template <typename T>
struct AddRows {
  T* to;
  int64_t step;
  template <int MR, int NV>
  RNNMEM_INLINE void take(const Vec<T> (&acc)[MR][NV], int64_t row) const {
    for (int r = 0; r < MR; ++r)
      for (int v = 0; v < NV; ++v) {
        T* at = to + (row + r) * step + v * lanes<T>;
        store(at, load(at) + acc[r][v]);
      }
  }
};

template <typename T, typename Unit>
class PullLoop {
  static constexpr int G = Unit::gates, S = Unit::state_parts, NV = G == 1 ? 2 : G;
  static constexpr int64_t W = lanes<T>;

 public:
  PullLoop(const Scan<T>& scan, const Pull<T>& to)
      : scan_(scan),
        to_(to),
        panels_(scan.hidden_size, G, W),
        back_(scan.hidden_size, 1, W),
        ld_(back_.padded_size()),
        rows_most_(smaller(scan.streams, kPassStreams)),
        steps_most_(smaller(tile_steps(scan.streams), scan.steps + 1)),
        input_(scan, panels_, {0, panels_.count()}, rows_most_ * steps_most_),
        recurrent_(rows_most_ * steps_most_ * panels_.row()),
        states_(S * rows_most_ * steps_most_ * ld_),
        output_(rows_most_ * steps_most_),
        gradient_(S * rows_most_ * ld_),
        side_(rows_most_ * G * ld_),
        moved_(rows_most_ * G * ld_),
        moved_row_(rows_most_) {}

  // Streams [first, last), at most kPassStreams at a time.
  void run(int64_t first, int64_t last) {
    for (; first < last; first += kPassStreams) pass(first, smaller(kPassStreams, last - first));
  }

 private:
  void pass(int64_t stream, int64_t rows) {
    const int64_t H = scan_.hidden_size;
    for (int s = 0; s < S; ++s)
      for (int64_t r = 0; r < rows; ++r)
        copy(gradient(s, r), to_.gradient + (s * scan_.streams + stream + r) * H, H);
    for (int64_t end = scan_.steps; end > 0; end -= smaller(steps_most_, end)) {
      const int64_t steps = smaller(steps_most_, end), t = end - steps;
      const T* const* gates = input_.take(t, steps, stream, rows);
      recurrent_side(t, steps, stream, rows);
      for (int64_t i = steps; i-- > 0;) step(gates + i * rows, t + i, i, stream, rows);
    }
    for (int s = 0; s < S; ++s)
      for (int64_t r = 0; r < rows; ++r)
        copy(scan_.last_state + (s * scan_.streams + stream + r) * H, gradient(s, r), H);
  }

  T* gradient(int s, int64_t row) const { return gradient_.get() + (s * rows_most_ + row) * ld_; }
  T* state(int s, int64_t row) const { return states_.get() + (s * rows_most_ * steps_most_ + row) * ld_; }

  // The state before each step of the tile, and W_hh h + b_hh of it.
  void recurrent_side(int64_t t, int64_t steps, int64_t stream, int64_t rows) {
    const int64_t H = scan_.hidden_size;
    for (int64_t i = 0; i < steps; ++i)
      for (int64_t r = 0; r < rows; ++r) {
        for (int s = 0; s < S; ++s) {
          const T* before = t + i == 0
                                ? scan_.state + (s * scan_.streams + stream + r) * H
                                : to_.states + (((t + i - 1) * scan_.streams + stream + r) * S + s) * H;
          copy(state(s, i * rows + r), before, H);
        }
        output_.get()[i * rows + r] = state(0, i * rows + r);
      }
    const Rows<T> h{{output_.get(), nullptr}, 1, steps * rows, H, 1};
    product<T, NV>(h, scan_.weight_hh, scan_.bias_hh, {0, panels_.count()}, recurrent_.get(), panels_.row());
  }

  // Step t, the i-th of the tile.
  void step(const T* const* gates, int64_t t, int64_t i, int64_t stream, int64_t rows) {
    const int64_t H = scan_.hidden_size;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = t * scan_.streams + stream + r;
      T* above = gradient(0, r);
      for (int64_t u = 0; to_.above && u < H; ++u) above[u] += to_.above[at * H + u];
      past_gates(gates[r], i * rows + r, r);
      for (int g = 0; to_.sides && g < G; ++g)
        copy(to_.sides + (at * G + g) * H, side_.get() + (r * G + g) * ld_, H);
      moved_row_.get()[r] = moved_.get() + r * G * ld_;
    }
    const Rows<T> moved{{moved_row_.get(), nullptr}, 1, rows, G * ld_, 1};
    for (int64_t p = 0; p < back_.count(); ++p) {
      const Columns<T> w{to_.weight + p * G * ld_ * back_.columns(), back_.columns()};
      panel_product<T, 2>(moved, w, static_cast<const T*>(nullptr),
                          AddRows<T>{gradient(0, 0) + p * back_.units(), ld_});
    }
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;  // the square of a small float is 0 as a float
      for (int s = 0; s < S; ++s)
        for (int64_t u = 0; u < H; ++u) sum += static_cast<double>(gradient(s, r)[u]) * gradient(s, r)[u];
      to_.squares[t * scan_.streams + stream + r] = sum;
    }
  }

  // The unit's own way back, for one stream: row `at` of the tile, row r of the pass.
  void past_gates(const T* input, int64_t at, int64_t r) {
    constexpr int64_t blocks = NV / G;
    const T* recurrent = recurrent_.get() + at * panels_.row();
    for (int64_t panel = 0; panel < panels_.count(); ++panel)
      for (int64_t b = 0; b < blocks; ++b) {
        const int64_t unit = (panel * blocks + b) * W;
        Vec<T> x[G], h[G], now[S], grad[S], dx[G], dh[G];
        for (int g = 0; g < G; ++g) {
          x[g] = load(input + (panel * NV + b * G + g) * input_.vector_step());
          h[g] = load(recurrent + (panel * NV + b * G + g) * W);
        }
        for (int s = 0; s < S; ++s) now[s] = load(state(s, at) + unit), grad[s] = load(gradient(s, r) + unit);
        Unit::template step_backward<Math<T>>(x, h, now, broadcast(scan_.leak), grad, dx, dh);
        for (int s = 0; s < S; ++s) store(gradient(s, r) + unit, grad[s]);
        for (int g = 0; g < G; ++g) {
          store(side_.get() + (r * G + g) * ld_ + unit, dx[g]);
          store(moved_.get() + (r * G + g) * ld_ + unit, dh[g]);
        }
      }
  }

  const Scan<T>& scan_;
  const Pull<T>& to_;
  const Panels panels_, back_;
  const int64_t ld_, rows_most_, steps_most_;
  InputSide<T, NV> input_;
  Buffer<T> recurrent_, states_;
  Buffer<const T*> output_;
  Buffer<T> gradient_, side_, moved_;
  Buffer<const T*> moved_row_;
};

}  // namespace RNNMEM_ISA
}  // namespace rnnmem
