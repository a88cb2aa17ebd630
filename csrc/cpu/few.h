// A few steps on weights as torch.nn lays them out: packing them would cost more than it saves.
#pragma once

#include "cpu/memory.h"
#include "cpu/vec.h"
#include "job.h"

namespace rnnmem {
inline namespace RNNMEM_ISA {

// A vector of weights, and one weight, as what they are computed in.
template <typename T>
RNNMEM_INLINE Vec<T> wide(const T* from) {
  return load(from);
}
RNNMEM_INLINE Vec<float> wide(const Half* from) {
  typedef Half Halves __attribute__((vector_size(RNNMEM_VECTOR_BYTES / 2)));
  Halves halves;
  __builtin_memcpy(&halves, from, sizeof halves);
  return first(__builtin_convertvector(halves, Vec<Pair>));
}
template <typename T>
RNNMEM_INLINE T number(T x) {
  return x;
}
RNNMEM_INLINE float number(Half x) {
  return __builtin_bit_cast(float, Pair{x} << 16);
}

// out[n] = bias[n] + weight[n] . x for `rows` rows of `columns` columns; bias may be null.
template <typename T, typename B>
void dot_rows(const B* weight, const T* bias, const T* x, int64_t rows, int64_t columns, T* out) {
  constexpr int64_t W = lanes<T>, kTogether = 4;
  for (int64_t n = 0; n < rows; n += kTogether) {
    const int64_t count = smaller(kTogether, rows - n), whole = columns / W * W;
    Vec<T> sum[kTogether] = {};
    const B* row[kTogether];
    for (int64_t i = 0; i < kTogether; ++i) row[i] = weight + (n + smaller(i, count - 1)) * columns;
    for (int64_t k = 0; k < whole; k += W)
      for (int64_t i = 0; i < kTogether; ++i) sum[i] += wide(row[i] + k) * load(x + k);
    for (int64_t i = 0; i < count; ++i) {
      T total = (bias ? bias[n + i] : T(0)) + (whole ? sum_lanes<T, RNNMEM_VECTOR_BYTES>(sum[i]) : T(0));
      for (int64_t k = whole; k < columns; ++k) total += number(row[i][k]) * x[k];
      out[n + i] = total;
    }
  }
}

// Every step of every stream: both sides of the gates, then the unit's step.
template <typename T, typename Unit, typename Weight = T>
void few_kernel(const Few<T, Weight>& of) {
  constexpr int G = Unit::gates, S = Unit::state_parts;
  constexpr int64_t W = lanes<T>;
  const int64_t H = of.hidden_size, padded = (H + W - 1) / W * W;
  // Vectors are loaded whole: the last one of a gate runs into the next, or into the padding.
  Buffer<T> sides(2 * G * H + W), state(S * padded);
  T *x_side = sides.get(), *h_side = x_side + G * H;
  for (int64_t b = 0; b < of.streams; ++b) {
    for (int s = 0; s < S; ++s)
      for (int64_t u = 0; u < H; ++u)
        state.get()[s * padded + u] = of.state[s] ? of.state[s][b * H + u] : T(0);
    for (int64_t t = 0; t < of.steps; ++t) {
      const T* x = of.inputs + t * of.time_stride + b * of.stream_stride;
      dot_rows(of.weight_ih, of.bias_ih, x, G * H, of.input_size, x_side);
      dot_rows(of.weight_hh, of.bias_hh, state.get(), G * H, H, h_side);
      for (int64_t unit = 0; unit < H; unit += W) {
        Vec<T> gates_x[G], gates_h[G], parts[S];
        for (int g = 0; g < G; ++g)
          gates_x[g] = load(x_side + g * H + unit), gates_h[g] = load(h_side + g * H + unit);
        for (int s = 0; s < S; ++s) parts[s] = load(state.get() + s * padded + unit);
        Unit::template step<Math<T>>(gates_x, gates_h, parts, broadcast(T(1)));
        for (int s = 0; s < S; ++s) store(state.get() + s * padded + unit, parts[s]);
      }
      copy(of.output + (t * of.streams + b) * H, state.get(), H);
    }
    for (int s = 0; s < S; ++s) copy(of.last_state[s] + b * H, state.get() + s * padded, H);
  }
}

}  // namespace RNNMEM_ISA
}  // namespace rnnmem
