// Scratch memory, of zeros.
#pragma once

#include "cpu/vec.h"
#include "scratch.h"

namespace rnnmem {
inline namespace RNNMEM_ISA {

template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t size)
      : memory_(size * static_cast<int64_t>(sizeof(T))), at_(static_cast<T*>(memory_.get())) {
    for (int64_t i = 0; i < size; ++i) at_[i] = T{};
  }
  T* get() const { return at_; }

 private:
  const Scratch memory_;
  T* const at_;
};

template <typename T>
RNNMEM_INLINE void copy(T* to, const T* from, int64_t size) {
  __builtin_memcpy(to, from, size * sizeof(T));
}

RNNMEM_INLINE int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

}  // namespace RNNMEM_ISA
}  // namespace rnnmem
