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

template <typename T, typename Kept = T>
class StoreSink {
 public:
  StoreSink(const Extent& scan, const Store<T, Kept>& to, int64_t, int64_t) : scan_(scan), to_(to) {}

  void take(const TimeTile<T>& tile, const Place& place) {
    const Range mine = place.of(tile.steps);
    for (int64_t i = mine.first; i < mine.last; ++i)
      for (int64_t r = 0; r < tile.rows; ++r)
        for (int s = 0; s < tile.parts; ++s) {
          const int64_t row = (tile.time + i) * scan_.streams + tile.stream + r, hidden = scan_.hidden_size;
          keep(to_.features + (row * tile.parts + s) * hidden,
               tile.part[s] + (i * tile.rows + r) * tile.step);
        }
  }

 private:
  void keep(Kept* to, const T* from) const {
    const int64_t size = scan_.hidden_size;
    if constexpr (std::is_same_v<Kept, T>) {
      copy(to, from, size);
    } else {  // rows of a tile are whole vectors
      constexpr int64_t W = lanes<T>;
      int64_t i = 0;
      for (; i + W <= size; i += W) store(to + i, load(from + i));
      Kept last[W];
      if (i < size) store(last, load(from + i)), copy(to + i, last, size - i);
    }
  }

  const Extent& scan_;
  const Store<T, Kept>& to_;
};

}  // namespace RNNMEM_ISA
}  // namespace rnnmem
