// The store sink: writes the features of every step.
#pragma once

#include "cpu/memory.h"
#include "cpu/team.h"
#include "job.h"

namespace rnnmem {
inline namespace RNNMEM_ISA {

// A tile of time as the loop hands it to a sink: step i of stream r has its state part s at
// part[s] + (i * rows + r) * step.
template <typename T>
struct TimeTile {
  const T* part[2];
  int parts;
  int64_t step;
  int64_t time, steps;   // the first step, counted in the chunk, and how many
  int64_t stream, rows;  // the first stream, and how many
};

template <typename T>
class StoreSink {
 public:
  StoreSink(const Scan<T>& scan, const Store<T>& to, int64_t, int64_t) : scan_(scan), to_(to) {}

  void take(const TimeTile<T>& tile, const Place& place) {
    const int64_t hidden = scan_.hidden_size;
    const Range mine = place.of(tile.steps);
    for (int64_t i = mine.first; i < mine.last; ++i)
      for (int64_t r = 0; r < tile.rows; ++r)
        for (int s = 0; s < tile.parts; ++s) {
          const int64_t row = (tile.time + i) * scan_.streams + tile.stream + r;
          copy(to_.features + (row * tile.parts + s) * hidden, tile.part[s] + (i * tile.rows + r) * tile.step,
               hidden);
        }
  }

 private:
  const Scan<T>& scan_;
  const Store<T>& to_;
};

}  // namespace RNNMEM_ISA
}  // namespace rnnmem
