// A layer as torch.nn has it: its weights are packed for one call alone, or read as they are where the steps
// are few.
#pragma once

#include <algorithm>
#include <optional>
#include <utility>

#include "dispatch.h"
#include "fill.h"
#include "half.h"
#include "pack.h"
#include "run.h"
#include "scratch.h"

namespace rnnmem {

// Rows (steps x streams) for which a layer's weights are read as they are; packing them pays from about 5 on.
inline constexpr int64_t kFewRows = 4;

struct LayerCall {
  const Tensor& inputs;
  const optional<Tensor>&h, &c;
  const Tensor &ih, &hh;
  const optional<Tensor>&bias_ih, &bias_hh;
};

// Everything of a layer but what it writes, which is the op's to allocate.
template <typename E>
void fill_few(Few<E, E, E>& to, int64_t gates, int64_t state_parts, const LayerCall& x) {
  constexpr ScalarType dtype = Dtype<E>::type;
  check(x.ih.dim() == 2 && x.hh.dim() == 2, "weights: expected rank 2");
  check(x.inputs.dim() == 3, "inputs: expected rank 3, got ", x.inputs.dim());
  to.steps = x.inputs.size(0);
  to.streams = x.inputs.size(1);
  to.input_size = x.ih.size(1);
  to.hidden_size = x.hh.size(1);
  check(to.input_size >= 1 && to.hidden_size >= 1, "weights: expected input and hidden size of at least 1");
  const int64_t rows = gates * to.hidden_size;
  check_tensor("ih", x.ih, dtype, {rows, to.input_size});
  check_tensor("hh", x.hh, dtype, {rows, to.hidden_size});
  check(!x.c || state_parts == 2, "c: expected none for this unit");
  if (x.h) check_tensor("h", *x.h, dtype, {to.streams, to.hidden_size});
  if (x.c) check_tensor("c", *x.c, dtype, {to.streams, to.hidden_size});
  if (x.bias_ih) check_tensor("bias_ih", *x.bias_ih, dtype, {rows});
  if (x.bias_hh) check_tensor("bias_hh", *x.bias_hh, dtype, {rows});
  check_rows(x.inputs, dtype, to.input_size);
  const auto given = [](const optional<Tensor>& x) { return x ? data<E>(*x) : nullptr; };
  to.weight_ih = data<E>(x.ih);
  to.weight_hh = data<E>(x.hh);
  to.bias_ih = given(x.bias_ih);
  to.bias_hh = given(x.bias_hh);
  to.inputs = data<E>(x.inputs);
  to.time_stride = x.inputs.stride(0);
  to.stream_stride = x.inputs.stride(1);
  to.state[0] = given(x.h);
  to.state[1] = given(x.c);
}

// A layer in bfloat16 with its biases and states in float, and its inputs and outputs too if X is.
template <typename X>
class Widened {
 public:
  Widened(const Few<Half, Half, Half>& of, int64_t gates, int64_t state_parts)
      : of_(of), parts_(state_parts), part_(of.streams * of.hidden_size), memory_(bytes(gates)) {
    float* next = static_cast<float*>(memory_.get());
    const auto take = [&](int64_t size) { return std::exchange(next, next + size); };
    const auto widened = [&](const Half* from, int64_t size) -> const float* {
      if (!from) return nullptr;
      float* const to = take(size);
      convert(from, size, to);
      return to;
    };
    static_cast<Layout&>(wide) = of;
    wide.weight_ih = of.weight_ih;
    wide.weight_hh = of.weight_hh;
    wide.bias_ih = widened(of.bias_ih, gates * of.hidden_size);
    wide.bias_hh = widened(of.bias_hh, gates * of.hidden_size);
    for (int64_t s = 0; s < parts_; ++s) {
      wide.state[s] = widened(of.state[s], part_);
      wide.last_state[s] = take(part_);
    }
    if constexpr (kRows) {
      const int64_t I = of.input_size, rows = of.steps * of.streams;
      float* const x = take(rows * I);
      for (int64_t n = 0; n < rows; ++n)
        convert(of.inputs + n / of.streams * of.time_stride + n % of.streams * of.stream_stride, I,
                x + n * I);
      wide.inputs = x;
      wide.time_stride = of.streams * I;
      wide.stream_stride = I;
      wide.output = take(rows * of.hidden_size);
    } else {
      wide.inputs = of.inputs;
      wide.output = of.output;
    }
  }

  // What the layer wrote, where it was asked for.
  void give_back() const {
    for (int64_t s = 0; s < parts_; ++s) convert(wide.last_state[s], part_, of_.last_state[s]);
    if constexpr (kRows) convert(wide.output, of_.steps * part_, of_.output);
  }

  Few<float, Half, X> wide{};

 private:
  static constexpr bool kRows = std::is_same_v<X, float>;
  int64_t bytes(int64_t gates) const {
    const int64_t rows = kRows ? of_.steps * of_.streams : 0;
    return (2 * gates * of_.hidden_size + 2 * parts_ * part_ + rows * (of_.input_size + of_.hidden_size)) *
           int64_t{sizeof(float)};
  }

  const Few<Half, Half, Half>& of_;
  const int64_t parts_, part_;
  const Scratch memory_;
};

// A layer's weights packed: W what they are kept in, G what they were given in.
template <typename T, typename W>
class PackedWeights {
 public:
  template <typename G, typename X>
  PackedWeights(const Few<T, G, X>& of, int64_t gates, const Panels& panels)
      : panels_(panels),
        gates_(gates),
        row_(panels.row()),
        input_(elements<W>(of.input_size)),
        hidden_(elements<W>(of.hidden_size)),
        memory_(row_ * (input_ + hidden_) * int64_t{sizeof(W)} + 2 * row_ * int64_t{sizeof(T)}) {
    pack(of.weight_ih, of.input_size, ih());
    pack(of.weight_hh, of.hidden_size, hh());
    pack_bias(of.bias_ih, bias_ih());
    pack_bias(of.bias_hh, bias_hh());
  }

  W* ih() const { return static_cast<W*>(memory_.get()); }
  W* hh() const { return ih() + row_ * input_; }
  T* bias_ih() const { return reinterpret_cast<T*>(hh() + row_ * hidden_); }
  T* bias_hh() const { return bias_ih() + row_; }

 private:
  template <typename G>
  void pack(const G* weight, int64_t columns, W* to) const {
    if constexpr (std::is_same_v<G, W>) {
      share_out(panels_.count(), columns * panels_.columns(), [&](int64_t first, int64_t last) {
        pack_panels(weight, gates_, columns, panels_, {first, last}, to);
      });
    } else {
      const int64_t rows = gates_ * panels_.size, size = elements<W>(columns);
      const Scratch pairs(rows * size * int64_t{sizeof(W)});
      W* const at = static_cast<W*>(pairs.get());
      share_out(rows, columns, [&](int64_t first, int64_t last) {
        for (int64_t n = first; n < last; ++n) pair_up(weight + n * columns, columns, at + n * size);
      });
      pack(at, size, to);
    }
  }

  // Over threads, so many numbers to each at the least: a fork costs as much as tens of thousands.
  template <typename Body>
  static void share_out(int64_t count, int64_t numbers, const Body& body) {
    constexpr int64_t least = 1 << 16;
    torch::stable::parallel_for(0, count, (least + numbers - 1) / numbers, body);
  }

  void pack_bias(const T* bias, T* to) const {
    if (bias)
      pack_panels(bias, gates_, 1, panels_, to);
    else
      std::fill_n(to, row_, T(0));
  }

  const Panels panels_;
  const int64_t gates_, row_, input_, hidden_;
  const Scratch memory_;
};

// Runs a layer on weights packed as W. Rows that are given as Y are read as X: themselves, or bfloat16 as
// pairs, which are copied only where no two numbers of a row are one.
template <typename T, typename W, typename X, typename G, typename Y>
void run_packed(const Few<T, G, Y>& of, int64_t gates, int64_t state_parts, int64_t vector_bytes,
                void (*kernel)(const Scan<T, W, X>&, const Store<T, Y>&, const Share&)) {
  const int64_t I = of.input_size, H = of.hidden_size, part = of.streams * H, rows = of.steps * of.streams;
  const PackedWeights<T, W> weights(of, gates, Panels(H, gates, vector_bytes / int64_t{sizeof(T)}));
  constexpr int64_t each = sizeof(X) / sizeof(Y);
  const bool as_given =
      each == 1 || (I % each == 0 && of.time_stride % each == 0 && of.stream_stride % each == 0 &&
                    reinterpret_cast<uintptr_t>(of.inputs) % sizeof(X) == 0);
  const Scratch copied(as_given ? 0 : rows * elements<X>(I) * int64_t{sizeof(X)});
  const Scratch states(2 * state_parts * part * int64_t{sizeof(T)});
  T *const state = static_cast<T*>(states.get()), *const last_state = state + state_parts * part;
  for (int64_t s = 0; s < state_parts; ++s)
    if (of.state[s])
      std::copy_n(of.state[s], part, state + s * part);
    else
      std::fill_n(state + s * part, part, T(0));

  Scan<T, W, X> scan{};
  static_cast<Extent&>(scan) = {of.steps, of.streams, I, H, false, kGroupStreams};
  scan.weight_ih = weights.ih();
  scan.bias_ih = weights.bias_ih();
  scan.weight_hh = weights.hh();
  scan.bias_hh = weights.bias_hh();
  scan.leak = 1;
  scan.row_size = elements<X>(I);
  scan.inputs = reinterpret_cast<const X*>(of.inputs);
  scan.time_stride = of.time_stride / each;
  scan.stream_stride = of.stream_stride / each;
  if constexpr (each > 1)
    if (!as_given) {
      X* const x = static_cast<X*>(copied.get());
      for (int64_t n = 0; n < rows; ++n)
        pair_up(of.inputs + n / of.streams * of.time_stride + n % of.streams * of.stream_stride, I,
                x + n * scan.row_size);
      scan.inputs = x;
      scan.time_stride = of.streams * scan.row_size;
      scan.stream_stride = scan.row_size;
    }
  scan.state = state;
  scan.last_state = last_state;
  run(kernel, scan, Store<T, Y>{of.output}, plan_scan(scan, gates, vector_bytes, 0));
  for (int64_t s = 0; s < state_parts; ++s) std::copy_n(last_state + s * part, part, of.last_state[s]);
}

// A layer of float or double; its weights are rounded to bfloat16 if `half` says so.
template <typename T>
void run_layer(const Few<T, T, T>& of, const UnitKernels<T>& unit, const Isa& isa, bool half) {
  if (of.steps * of.streams <= kFewRows) return unit.few(of);
  if constexpr (std::is_same_v<T, float>)
    if (half)
      return run_packed(of, unit.gates, unit.state_parts, isa.vector_bytes, isa.half[&unit - isa.f32].store);
  run_packed(of, unit.gates, unit.state_parts, isa.vector_bytes, unit.store);
}

// A layer of bfloat16: computed in float, its products by pairs where the processor makes them.
inline void run_layer(const Few<Half, Half, Half>& of, const UnitKernels<float>& unit, const Isa& isa, bool) {
  const int64_t G = unit.gates, S = unit.state_parts, at = &unit - isa.f32;
  const PairProducts* pairs = pair_products();
  if (pairs && of.steps * of.streams > kFewRows) {
    const Widened<Half> layer(of, G, S);
    run_packed(layer.wide, G, S, pairs->vector_bytes, pairs->store[at]);
    layer.give_back();
  } else {
    const Widened<float> layer(of, G, S);
    if (of.steps * of.streams <= kFewRows)
      isa.half[at].few(layer.wide);
    else
      run_packed(layer.wide, G, S, isa.vector_bytes, isa.half[at].store);
    layer.give_back();
  }
}

}  // namespace rnnmem
