// Scratch memory that a thread keeps for its next call. Memory fresh from the system comes a page at a time,
// and a page costs as much as a step of a small layer.
#pragma once

#include <cstdint>

namespace rnnmem {

// What a thread keeps at most, of what it was given back last.
#ifndef RNNMEM_SCRATCH_KEPT
#  define RNNMEM_SCRATCH_KEPT (int64_t{16} << 20)
#endif

// So many bytes from a cache line on, holding anything, for as long as this lives. Throws std::bad_alloc.
class Scratch {
 public:
  explicit Scratch(int64_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void* get() const;  // not here: no inline function may be compiled for more than the baseline

 private:
  const int64_t bytes_;
  void* const at_;
};

}  // namespace rnnmem
