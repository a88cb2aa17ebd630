// Bfloat16 to float and back, to the nearest or the even one of two.
#pragma once

#include <cstring>

#include "job.h"

namespace rnnmem {

template <typename To, typename From>
To converted(From x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else if constexpr (std::is_same_v<To, float>) {
    const uint32_t bits = uint32_t{x} << 16;
    float wide;
    std::memcpy(&wide, &bits, sizeof wide);
    return wide;
  } else {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const bool nan = (bits & 0x7fffffff) > 0x7f800000;
    return static_cast<Half>((nan ? bits | 0x400000 : bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
}

template <typename To, typename From>
void convert(const From* from, int64_t size, To* to) {
  for (int64_t i = 0; i < size; ++i) to[i] = converted<To>(from[i]);
}

// A row of numbers as pairs, which lie in memory as the numbers do.
template <typename From>
void pair_up(const From* from, int64_t size, Pair* to) {
  typedef Half Lying __attribute__((may_alias));
  to[elements<Pair>(size) - 1] = 0;
  Lying* const at = reinterpret_cast<Lying*>(to);
  for (int64_t i = 0; i < size; ++i) at[i] = converted<Half>(from[i]);
}

}  // namespace rnnmem
