// Packs a matrix into panels; see Panels in job.h.
#pragma once

#include <cstring>

#include "job.h"

namespace rnnmem {

// A square block of so many rows and columns as 16 bytes hold, turned in registers: element by element takes
// ten times as long, as long as hundreds of a layer's steps.
template <typename T>
struct Block {
  static constexpr int size = 16 / sizeof(T);
  typedef T Row __attribute__((vector_size(16)));

  // to[c * to_step + r] = from[r * from_step + c]
  static void turn(const T* from, int64_t from_step, T* to, int64_t to_step) {
    Row row[size];
    for (int r = 0; r < size; ++r) std::memcpy(&row[r], from + r * from_step, sizeof row[r]);
    if constexpr (size == 2) {
      put(__builtin_shufflevector(row[0], row[1], 0, 2), to);
      put(__builtin_shufflevector(row[0], row[1], 1, 3), to + to_step);
    } else {
      const Row low = __builtin_shufflevector(row[0], row[1], 0, 4, 1, 5),
                high = __builtin_shufflevector(row[0], row[1], 2, 6, 3, 7),
                next_low = __builtin_shufflevector(row[2], row[3], 0, 4, 1, 5),
                next_high = __builtin_shufflevector(row[2], row[3], 2, 6, 3, 7);
      put(__builtin_shufflevector(low, next_low, 0, 1, 4, 5), to);
      put(__builtin_shufflevector(low, next_low, 2, 3, 6, 7), to + to_step);
      put(__builtin_shufflevector(high, next_high, 0, 1, 4, 5), to + 2 * to_step);
      put(__builtin_shufflevector(high, next_high, 2, 3, 6, 7), to + 3 * to_step);
    }
  }

 private:
  static void put(Row row, T* to) { std::memcpy(to, &row, sizeof row); }
};

// weight [G * H, K] to packed [panels, K, vectors, lanes], both contiguous.
template <typename T>
void pack_panels(const T* weight, int64_t gates, int64_t columns, const Panels& p, T* packed) {
  constexpr int64_t size = Block<T>::size;
  const int64_t step = p.columns(), whole = columns / size * size;
  for (int64_t panel = 0; panel < p.count(); ++panel, packed += columns * step)
    for (int64_t v = 0; v < p.vectors; ++v) {
      const int64_t block = v / gates, gate = v % gates, unit = (panel * p.blocks + block) * p.lanes;
      for (int64_t lane = 0; lane < p.lanes; lane += size) {
        const int64_t there = p.size - unit - lane;  // less than a block, or none, in padding
        const T* from = weight + (gate * p.size + unit + lane) * columns;
        T* to = packed + v * p.lanes + lane;
        const int64_t turned = there >= size ? whole : 0;
        for (int64_t k = 0; k < turned; k += size) Block<T>::turn(from + k, columns, to + k * step, step);
        for (int64_t k = turned; k < columns; ++k)
          for (int64_t i = 0; i < size; ++i) to[k * step + i] = i < there ? from[i * columns + k] : T(0);
      }
    }
}

}  // namespace rnnmem
