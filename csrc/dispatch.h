// Which kernels there are and which of them this machine runs.
#pragma once

#include <cstring>

#include "job.h"

namespace rnnmem {

template <typename T>
struct UnitKernels {
  const char* name;
  int64_t gates, state_parts;
  // The streams of a share start a group of streams.
  void (*store)(const Scan<T>&, const Store<T>&, const Share&);
  void (*project)(const Scan<T>&, const Project<T>&, const Share&);
  // Streams [first, last) of a scan; `first` starts a group of streams.
  void (*pull)(const Scan<T>&, const Pull<T>&, int64_t first, int64_t last);
  void (*few)(const Few<T>&);
  // Rows [first, last) of x [N, I] to packed gates [N, row].
  void (*gate_rows)(const Scan<T>&, T* gates, int64_t first, int64_t last);
};

constexpr int kUnits = 6;

// The same of weights in bfloat16, computed with in float.
struct HalfWeights {
  void (*store)(const Scan<float, Pair>&, const Store<float>&, const Share&);
  void (*project)(const Scan<float, Pair>&, const Project<float>&, const Share&);
  void (*few)(const Few<float, Half>&);
};

// And of weights, inputs and outputs in bfloat16, whose products the processor makes of pairs.
using PairsKernel = void (*)(const Scan<float, Pair, Pair>&, const Store<float, Half>&, const Share&);

// Shares [first, last) of kMomentShares.
template <typename T>
using MomentsKernel = void (*)(const Moments<T>&, int64_t first, int64_t last);

// One instruction set's kernels. Its translation unit is the only code compiled for it.
struct Isa {
  const char* name;
  bool (*runs_here)();
  int64_t vector_bytes;
  const UnitKernels<float>* f32;
  const UnitKernels<double>* f64;
  const HalfWeights* half;  // in the order of f32
  MomentsKernel<float> f32_moments;
  MomentsKernel<double> f64_moments;
};

// What makes products of pairs, if this machine has it.
struct PairProducts {
  bool (*runs_here)();
  int64_t vector_bytes;
  const PairsKernel* store;  // in the order of every table
};

extern const Isa isa_baseline;
#if defined(__x86_64__)
extern const PairProducts pairs_avx512;
extern const Isa isa_avx2, isa_avx512;
inline constexpr const Isa* kIsas[] = {&isa_avx512, &isa_avx2, &isa_baseline};  // best first
#else
inline constexpr const Isa* kIsas[] = {&isa_baseline};
#endif

inline const PairProducts* pair_products() {
#if defined(__x86_64__)
  if (pairs_avx512.runs_here()) return &pairs_avx512;
#endif
  return nullptr;
}

inline const Isa* find_isa(const char* name) {
  for (const Isa* isa : kIsas)
    if (!std::strcmp(isa->name, name) && isa->runs_here()) return isa;
  return nullptr;
}

template <typename T>
const UnitKernels<T>* units_of(const Isa& isa);
template <>
inline const UnitKernels<float>* units_of(const Isa& isa) {
  return isa.f32;
}
template <>
inline const UnitKernels<double>* units_of(const Isa& isa) {
  return isa.f64;
}

inline const Isa& best_isa() {
  for (const Isa* isa : kIsas)
    if (isa->runs_here()) return *isa;
  return isa_baseline;
}

// A unit's kernels for the kind of weights that a scan has.
template <typename T>
const UnitKernels<T>& kernels_of(const Scan<T>&, const Isa&, const UnitKernels<T>& unit) {
  return unit;
}
inline const HalfWeights& kernels_of(const Scan<float, Pair>&, const Isa& isa,
                                     const UnitKernels<float>& unit) {
  return isa.half[&unit - isa.f32];
}

template <typename T>
MomentsKernel<T> moments_of(const Isa& isa);
template <>
inline MomentsKernel<float> moments_of(const Isa& isa) {
  return isa.f32_moments;
}
template <>
inline MomentsKernel<double> moments_of(const Isa& isa) {
  return isa.f64_moments;
}

template <typename T>
const UnitKernels<T>* find_unit(const Isa& isa, const char* name) {
  for (int i = 0; i < kUnits; ++i)
    if (!std::strcmp(units_of<T>(isa)[i].name, name)) return &units_of<T>(isa)[i];
  return nullptr;
}

}  // namespace rnnmem
