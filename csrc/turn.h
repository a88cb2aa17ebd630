// Columns from rows, in registers.
#pragma once

#include <cstdint>

namespace rnnmem {

// A square block of so many rows and columns as 16 bytes hold, turned in registers: element by element takes
// ten times as long, as long as hundreds of a layer's steps.
template <typename T>
struct Block {
  static constexpr int size = 16 / sizeof(T);
  typedef T Row __attribute__((vector_size(16)));

  // to[c * step + r] = from[r][at + c]
  static inline __attribute__((always_inline)) void turn(const T* const* from, int64_t at, T* to,
                                                         int64_t step) {
    Row row[size];
    for (int r = 0; r < size; ++r) __builtin_memcpy(&row[r], from[r] + at, sizeof row[r]);
    if constexpr (size == 2) {
      put(__builtin_shufflevector(row[0], row[1], 0, 2), to);
      put(__builtin_shufflevector(row[0], row[1], 1, 3), to + step);
    } else {
      const Row low = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5),
                high = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7),
                next_low = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5),
                next_high = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
      put(__builtin_shufflevector(low, next_low, 0, 1, 4, 5), to);
      put(__builtin_shufflevector(low, next_low, 2, 3, 6, 7), to + step);
      put(__builtin_shufflevector(high, next_high, 0, 1, 4, 5), to + 2 * step);
      put(__builtin_shufflevector(high, next_high, 2, 3, 6, 7), to + 3 * step);
    }
  }

 private:
  static inline __attribute__((always_inline)) void put(Row row, T* to) {
    __builtin_memcpy(to, &row, sizeof row);
  }
};

}  // namespace rnnmem
