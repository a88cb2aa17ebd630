// Packs a matrix into panels; see Panels in job.h.
#pragma once

#include "job.h"

namespace rnnmem {

// weight [G * H, K] to packed [panels, K, vectors, lanes], both contiguous.
template <typename T>
void pack_panels(const T* weight, int64_t gates, int64_t columns, const Panels& p, T* packed) {
  for (int64_t panel = 0; panel < p.count(); ++panel)
    for (int64_t k = 0; k < columns; ++k)
      for (int64_t v = 0; v < p.vectors; ++v)
        for (int64_t lane = 0; lane < p.lanes; ++lane) {
          const int64_t block = v / gates, gate = v % gates;
          const int64_t unit = (panel * p.blocks + block) * p.lanes + lane;
          *packed++ = unit < p.size ? weight[(gate * p.size + unit) * columns + k] : T(0);
        }
}

}  // namespace rnnmem
