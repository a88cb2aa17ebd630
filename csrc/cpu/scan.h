// The loop over time, for every unit and every sink.
//
// Time goes in tiles of a few steps. For each: the input side of all its steps as one product (or rows of a
// gate table, by pointer), the steps themselves one after the other, then the sink takes the tile. Only the
// tile's states exist at any time, in a ring that starts with the state that the tile before left.
#pragma once

#include "cpu/gemm.h"
#include "cpu/input_side.h"
#include "cpu/memory.h"
#include "cpu/team.h"
#include "sinks/store.h"

namespace rnnmem {
inline namespace RNNMEM_ISA {

// Where the rows of a state part are: before the step, and after it.
template <typename T>
struct PartRows {
  const T* const* from;
  T* const* to;
};

// Receives the recurrent side of a panel and makes the step of its hidden units: no gate leaves the
// registers.
template <typename T, typename Unit, typename X>
struct MakeStep {
  static constexpr int G = Unit::gates, S = Unit::state_parts;
  const T* const* gates;  // the input side, by row
  int64_t vector_step;    // from one of its vectors to the next
  PartRows<T> part[S];
  Half* const* rounded;  // where outputs go, too, as the next step's product reads them
  int64_t first;         // panel
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
          x[g] = load(gates[row + r] + (panel * NV + b * G + g) * vector_step);
          h[g] = acc[r][b * G + g];
        }
        for (int s = 0; s < S; ++s) state[s] = load(part[s].from[row + r] + unit);
        Unit::template step<Math<T>>(x, h, state, broadcast(leak));
        for (int s = 0; s < S; ++s) store(part[s].to[row + r] + unit, state[s]);
        if constexpr (std::is_same_v<X, Pair>) store(rounded[row + r] + unit, state[0]);
      }
  }
};

// W what weights are kept in, X what products read: where that is not T, outputs are rounded for them alone.
template <typename T, typename Unit, typename Weight = T, typename X = T>
class Loop {
  static constexpr int G = Unit::gates, S = Unit::state_parts, NV = G == 1 ? 2 : G;
  static constexpr int kTogether = NV <= 2 ? 4 : 2;  // panels that a single row goes against at once
  static constexpr int64_t W = lanes<T>;
  static constexpr bool kRounds = !std::is_same_v<X, T>;

 public:
  Loop(const Scan<T, Weight, X>& scan, Place& place)
      : scan_(scan),
        place_(place),
        panels_(scan.hidden_size, G, W),
        mine_(place.of(panels_.count())),
        rows_most_(smaller(scan.streams, kPassStreams)),
        steps_most_(smaller(tile_steps(scan.streams), scan.steps + 1)),
        ld_(panels_.padded_size()),
        input_(scan, panels_, mine_, rows_most_ * steps_most_),
        zero_(ld_),
        from_(S * rows_most_),
        to_(S * rows_most_),
        read_(rows_most_),
        rounded_(rows_most_),
        own_ring_(place.leads() ? ring_size() + (kRounds ? rows_most_ * ld_ : 0) : 0) {}

  // These streams from the first step to the last, at most kPassStreams at a time.
  template <typename Sink, typename To>
  void run(const To& to, Range streams) {
    Sink sink(scan_, to, rows_most_, steps_most_);
    ring_ = static_cast<T*>(place_.lend(own_ring_.get()));  // from here on nothing throws
    if (!ring_) throw std::bad_alloc();
    for (int64_t first = streams.first; first < streams.last; first += kPassStreams)
      pass(sink, first, smaller(kPassStreams, streams.last - first));
    place_.meet();  // before the leading thread takes its memory back
  }

 private:
  // Parts beyond the output are kept for each step of the tile only if they are features.
  bool kept(int s) const { return s == 0 || scan_.full; }
  T* slot(int s, int64_t step, int64_t rows) const {
    return ring_ + (s * (steps_most_ + 1) * rows_most_ + (kept(s) ? step : 0) * rows) * ld_;
  }
  int64_t ring_size() const { return S * (steps_most_ + 1) * rows_most_ * ld_; }
  // The output before step t, counted in the chunk, rounded.
  Half* rounded(int64_t t, int64_t row) const {
    return reinterpret_cast<Half*>(ring_ + ring_size()) + (t % 2 * rows_most_ + row) * ld_;
  }

  template <typename Sink>
  void pass(Sink& sink, int64_t stream, int64_t rows) {
    const int64_t H = scan_.hidden_size;
    for (int s = 0; place_.leads() && s < S; ++s)
      for (int64_t r = 0; r < rows; ++r)
        copy(slot(s, 0, rows) + r * ld_, scan_.state + (s * scan_.streams + stream + r) * H, H);
    if constexpr (kRounds)
      for (int64_t i = 0; place_.leads() && i < rows * ld_; i += W)
        store(rounded(0, 0) + i, load(slot(0, 0, rows) + i));
    place_.meet();
    at_rest_ = true;
    for (int64_t i = 0; i < rows * ld_; ++i) at_rest_ &= slot(0, 0, rows)[i] == 0;
    at_rest_ = at_rest_ && finite_weights();
    for (int64_t t = 0; t < scan_.steps; t += steps_most_) {
      const int64_t steps = smaller(steps_most_, scan_.steps - t);
      const T* const* gates = input_.take(t, steps, stream, rows);
      if (t + steps < scan_.steps)
        input_.begin(t + steps, smaller(steps_most_, scan_.steps - t - steps), steps * row_products());
      for (int64_t i = 0; i < steps; ++i) {
        step(gates + i * rows, t + i, i, stream, rows);
        place_.meet();
      }
      TimeTile<T> tile{{}, scan_.full ? S : 1, ld_, t, steps, stream, rows};
      for (int s = 0; s < tile.parts; ++s) tile.part[s] = slot(s, 1, rows);
      sink.take(tile, place_);
      begin_with(steps, rows);
      place_.meet();
    }
    for (int s = 0; place_.leads() && s < S; ++s)
      for (int64_t r = 0; r < rows; ++r)
        copy(scan_.last_state + (s * scan_.streams + stream + r) * H, slot(s, 0, rows) + r * ld_, H);
  }

  // The next tile's first step starts from this slot.
  void begin_with(int64_t step, int64_t rows) {
    const int64_t first = mine_.first * panels_.units(), size = mine_.last * panels_.units() - first;
    for (int s = 0; s < S; ++s)
      for (int64_t r = 0; kept(s) && r < rows; ++r)
        copy(slot(s, 0, rows) + r * ld_ + first, slot(s, step, rows) + r * ld_ + first, size);
  }

  bool finite_weights() const {
    using Each = Factors<T, Weight>;
    Vec<T> sum{};  // of zeros, or NaN
    for (int64_t i = 0; i < panels_.row() * elements<Weight>(scan_.hidden_size); i += W)
      for (int n = 0; n < Each::each; ++n) sum += Each::column(scan_.weight_hh + i, n) * broadcast(T(0));
    return sum_lanes<T, RNNMEM_VECTOR_BYTES>(sum) == 0;
  }

  // Step i of the tile: every panel reads all of h before and writes its own units of h after.
  void step(const T* const* gates, int64_t t, int64_t i, int64_t stream, int64_t rows) {
    MakeStep<T, Unit, X> make{gates, input_.vector_step(), {}, rounded_.get(), 0, scan_.leak};
    for (int64_t r = 0; r < rows; ++r) {
      const bool reset = scan_.reset && scan_.reset[t * scan_.streams + stream + r];
      for (int s = 0; s < S; ++s) {
        from_.get()[s * rows + r] = reset ? zero_.get() : slot(s, i, rows) + r * ld_;
        to_.get()[s * rows + r] = slot(s, i + 1, rows) + r * ld_;
      }
      if constexpr (kRounds) {
        read_.get()[r] = reinterpret_cast<const X*>(reset ? static_cast<void*>(zero_.get()) : rounded(t, r));
        rounded_.get()[r] = rounded(t + 1, r);
      } else {
        read_.get()[r] = from_.get()[r];
      }
    }
    for (int s = 0; s < S; ++s) make.part[s] = {from_.get() + s * rows, to_.get() + s * rows};
    // Nothing comes back from an output of zero, as most streams start with, by weights that are finite.
    const Rows<X> h{{read_.get(), nullptr}, 1, rows, at_rest_ ? 0 : elements<X>(scan_.hidden_size), 1};
    at_rest_ = false;
    // From the last panel back every other time: what was read last is near.
    const bool back = i % 2;
    if (rows == 1)
      row_products<kTogether>(h, make, mine_, back);
    else
      for (int64_t n = 0; n < mine_.last - mine_.first; ++n) {
        make.first = back ? mine_.last - 1 - n : mine_.first + n;
        panel_product<T, NV>(h, weight_hh(make.first), scan_.bias_hh + make.first * NV * W, make);
      }
  }

  Columns<Weight> weight_hh(int64_t panel) const { return {scan_.weight_hh + panel * panel_step(), NV * W}; }
  int64_t panel_step() const { return elements<Weight>(scan_.hidden_size) * NV * W; }

  // A single row against P panels at a time as long as there are so many, then against fewer.
  template <int P>
  RNNMEM_INLINE void row_products(const Rows<X>& h, MakeStep<T, Unit, X>& make, Range panels, bool back) {
    const int64_t times = (panels.last - panels.first) / P;
    const Range rest{panels.first + times * P, panels.last};
    if constexpr (P > 1)
      if (back) row_products<P / 2>(h, make, rest, back);
    for (int64_t n = 0; n < times; ++n) {
      make.first = panels.first + (back ? times - 1 - n : n) * P;
      Aside<T, NV, X, Weight> aside;
      const bool due = h.size && input_.aside(aside);
      row_of_panels<T, NV, P>(h.part[0][0], h.size, weight_hh(make.first).from, panel_step(),
                              scan_.bias_hh + make.first * NV * W, due ? &aside : nullptr, make);
    }
    if constexpr (P > 1)
      if (!back) row_products<P / 2>(h, make, rest, back);
  }

  // How many such products a step takes.
  int64_t row_products() const {
    int64_t count = 0, left = mine_.last - mine_.first;
    for (int64_t size = kTogether; size; size /= 2) count += left / size, left %= size;
    return count;
  }

  const Scan<T, Weight, X>& scan_;
  Place& place_;
  const Panels panels_;
  const Range mine_;  // panels
  const int64_t rows_most_, steps_most_, ld_;
  bool at_rest_ = false;  // every stream's output is zero, and nothing comes back of it
  InputSide<T, NV, Weight, X> input_;
  Buffer<T> zero_;
  Buffer<const T*> from_;
  Buffer<T*> to_;
  Buffer<const X*> read_;
  Buffer<Half*> rounded_;
  Buffer<T> own_ring_;
  T* ring_ = nullptr;  // the team's
};

}  // namespace RNNMEM_ISA
}  // namespace rnnmem
