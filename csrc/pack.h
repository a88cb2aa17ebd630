// Packs a matrix into panels; see Panels in job.h.
#pragma once

#include "job.h"

namespace rnnmem {

// weight [G * H, K] to packed [panels, K, vectors, lanes], both contiguous.
template <typename T>
void pack_panels(const T* weight, int64_t gates, int64_t columns, const Panels& p, T* packed) {
  for (int64_t panel = 0; panel < p.count(); ++panel, packed += columns * p.columns())
    for (int64_t v = 0; v < p.vectors; ++v) {
      const int64_t block = v / gates, gate = v % gates, unit = (panel * p.blocks + block) * p.lanes;
      const T* from = weight + (gate * p.size + unit) * columns;
      const int64_t there = p.size - unit < p.lanes ? p.size - unit : p.lanes;  // none or less in padding
      for (int64_t k = 0; k < columns; ++k) {
        T* to = packed + (k * p.vectors + v) * p.lanes;
        for (int64_t lane = 0; lane < p.lanes; ++lane)
          to[lane] = lane < there ? from[lane * columns + k] : T(0);
      }
    }
}

}  // namespace rnnmem
