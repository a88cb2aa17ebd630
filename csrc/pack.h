// Packs a matrix into panels; see Panels in job.h.
#pragma once

#include "job.h"
#include "turn.h"

namespace rnnmem {

// Some panels of weight [G * H, K] to packed [all panels, K, vectors, lanes], both contiguous.
template <typename T>
void pack_panels(const T* weight, int64_t gates, int64_t columns, const Panels& p, Range panels, T* packed) {
  constexpr int64_t size = Block<T>::size;
  const int64_t step = p.columns(), whole = columns / size * size;
  packed += panels.first * columns * step;
  for (int64_t panel = panels.first; panel < panels.last; ++panel, packed += columns * step)
    for (int64_t v = 0; v < p.vectors; ++v) {
      const int64_t block = v / gates, gate = v % gates, unit = (panel * p.blocks + block) * p.lanes;
      for (int64_t lane = 0; lane < p.lanes; lane += size) {
        const int64_t there = p.size - unit - lane;  // less than a block, or none, in padding
        const T* from = weight + (gate * p.size + unit + lane) * columns;
        T* to = packed + v * p.lanes + lane;
        const int64_t turned = there >= size ? whole : 0;
        const T* row[size];
        for (int64_t i = 0; i < size; ++i) row[i] = from + i * columns;
        for (int64_t k = 0; k < turned; k += size) Block<T>::turn(row, k, to + k * step, step);
        for (int64_t k = turned; k < columns; ++k)
          for (int64_t i = 0; i < size; ++i) to[k * step + i] = i < there ? from[i * columns + k] : T(0);
      }
    }
}

template <typename T>
void pack_panels(const T* weight, int64_t gates, int64_t columns, const Panels& p, T* packed) {
  pack_panels(weight, gates, columns, p, {0, p.count()}, packed);
}

}  // namespace rnnmem
