// Scratch memory of one thread, given back when it goes out of scope.
#pragma once

#include "cpu/vec.h"

namespace rnnmem {
inline namespace RNNMEM_ISA {

template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t size) : at_(static_cast<T*>(::operator new(size * sizeof(T), kAlign))) {
    for (int64_t i = 0; i < size; ++i) at_[i] = T{};
  }
  ~Buffer() { ::operator delete(at_, kAlign); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* get() const { return at_; }

 private:
  static constexpr std::align_val_t kAlign{64};
  T* at_;
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
