// What memory safety needs, always with a message. Whether the numbers make sense is checked in Python.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <sstream>
#include <stdexcept>

#include "job.h"

namespace rnnmem {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename... Words>
void check(bool holds, const Words&... words) {
  if (holds) return;
  std::ostringstream line;
  (line << ... << words);
  throw std::runtime_error(line.str());
}

// A CPU tensor of this dtype and exactly these sizes, contiguous.
inline void check_tensor(const char* name, const Tensor& x, ScalarType dtype,
                         std::initializer_list<int64_t> sizes) {
  check(x.is_cpu(), name, ": expected a CPU tensor");
  check(x.scalar_type() == dtype, name, ": expected dtype ", dtype, ", got ", x.scalar_type());
  bool same = x.dim() == static_cast<int64_t>(sizes.size());
  for (int64_t i = 0; same && i < x.dim(); ++i) same = x.size(i) == sizes.begin()[i];
  if (!same) {  // words cost more than a small call
    std::ostringstream wanted, got;
    for (const int64_t& size : sizes) wanted << (&size == sizes.begin() ? "" : ", ") << size;
    for (int64_t i = 0; i < x.dim(); ++i) got << (i ? ", " : "") << x.size(i);
    check(false, name, ": expected shape [", wanted.str(), "], got [", got.str(), "]");
  }
  check(x.is_contiguous(), name, ": expected a contiguous tensor");
}

// How torch keeps the numbers that kernels take: pairs of bfloat16 as an int32.
template <typename T>
struct Dtype;
template <>
struct Dtype<float> {
  static constexpr ScalarType type = ScalarType::Float;
  static int32_t number() { return aoti_torch_dtype_float32(); }
};
template <>
struct Dtype<double> {
  static constexpr ScalarType type = ScalarType::Double;
  static int32_t number() { return aoti_torch_dtype_float64(); }
};
template <>
struct Dtype<Pair> {
  static constexpr ScalarType type = ScalarType::Int;
  static int32_t number() { return aoti_torch_dtype_int32(); }
};
template <>
struct Dtype<Half> {
  static constexpr ScalarType type = ScalarType::BFloat16;
  static int32_t number() { return aoti_torch_dtype_bfloat16(); }
};

// A tensor's numbers, of a dtype that was checked.
template <typename T>
const T* data(const Tensor& x) {
  return static_cast<const T*>(x.const_data_ptr());
}

// A new CPU tensor, contiguous, of whatever its memory held: without the dispatcher that `new_empty` goes
// through, which takes as long as a small layer's step.
template <typename T>
Tensor empty(std::initializer_list<int64_t> sizes) {
  int64_t strides[8], step = 1;
  check(sizes.size() <= 8, "expected at most 8 dimensions");
  for (size_t i = sizes.size(); i-- > 0; step *= std::max<int64_t>(sizes.begin()[i], 1)) strides[i] = step;
  AtenTensorHandle made;
  const auto failed = aoti_torch_empty_strided(static_cast<int64_t>(sizes.size()), sizes.begin(), strides,
                                               Dtype<T>::number(), aoti_torch_device_type_cpu(), 0, &made);
  check(!failed, "out of memory");
  return Tensor(made);
}

template <typename T>
Tensor zeros(std::initializer_list<int64_t> sizes) {
  Tensor made = empty<T>(sizes);
  std::fill_n(made.mutable_data_ptr<T>(), made.numel(), T(0));
  return made;
}

// int64 values in [least, most].
inline void check_range(const char* name, const Tensor& x, int64_t least, int64_t most) {
  const int64_t* at = x.const_data_ptr<int64_t>();
  for (int64_t i = 0; i < x.numel(); ++i)
    check(at[i] >= least && at[i] <= most, name, ": expected values in [", least, ", ", most, "], got ",
          at[i]);
}

// int64 places that stay within [0, size) from any of these rows, which are not negative.
inline void check_places(const char* name, const Tensor& at, const Tensor& rows, int64_t size) {
  if (!rows.numel()) return;
  const int64_t* row = rows.const_data_ptr<int64_t>();
  int64_t least = row[0], most = row[0];
  for (int64_t i = 1; i < rows.numel(); ++i) {
    least = row[i] < least ? row[i] : least;
    most = row[i] > most ? row[i] : most;
  }
  check_range(name, at, -least, size - 1 - most);
}

}  // namespace rnnmem
