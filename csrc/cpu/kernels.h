// Instantiates the loop for every unit, sink and dtype, and lists the result. Included once per instruction
// set, with RNNMEM_ISA, RNNMEM_VECTOR_BYTES and RNNMEM_VECTOR_REGISTERS set, and after the standard headers:
// no standard inline function may be compiled for more than the baseline, since the linker keeps any one
// copy.
#pragma once

#include "cpu/few.h"
#include "cpu/moments.h"
#include "cpu/pull.h"
#include "cpu/scan.h"
#include "dispatch.h"
#include "sinks/project.h"
#include "sinks/store.h"
#include "units/table.h"

namespace rnnmem {
inline namespace RNNMEM_ISA {

template <typename T, typename Unit, typename Sink, typename To, typename W = T, typename X = T>
void scan_kernel(const Scan<T, W, X>& scan, const To& to, const Share& share) {
  Place place(share);
  try {
    Loop<T, Unit, W, X>(scan, place).template run<Sink>(to, share.streams);
  } catch (...) {  // out of memory
    place.leave();
    throw;
  }
}

template <typename T, typename Unit>
void pull_kernel(const Scan<T>& scan, const Pull<T>& to, int64_t first, int64_t last) {
  PullLoop<T, Unit>(scan, to).run(first, last);
}

template <typename T, typename Unit>
void gate_rows_kernel(const Scan<T>& scan, T* gates, int64_t first, int64_t last) {
  const Panels panels(scan.hidden_size, Unit::gates, lanes<T>);
  Buffer<const T*> row(kTileRows);
  for (; first < last; first += kTileRows) {
    const int64_t count = smaller(kTileRows, last - first);
    for (int64_t i = 0; i < count; ++i) row.get()[i] = scan.inputs + (first + i) * scan.row_size;
    const Rows<T> x{{row.get(), nullptr}, 1, count, scan.input_size, 1};
    constexpr int NV = Unit::gates == 1 ? 2 : Unit::gates;
    product<T, NV>(x, scan.weight_ih, scan.bias_ih, {0, panels.count()}, gates + first * panels.row(),
                   panels.row());
  }
}

template <typename T>
void moments_kernel(const Moments<T>& of, int64_t first, int64_t last) {
  MomentSums<T>(of).run(first, last);
}

template <typename T, typename Table>
struct Kernels;

template <typename T, typename... Units>
struct Kernels<T, UnitTable<Units...>> {
  static_assert(sizeof...(Units) == kUnits);
  static constexpr UnitKernels<T> table[] = {
      {Units::name, Units::gates, Units::state_parts, scan_kernel<T, Units, StoreSink<T>, Store<T>>,
       scan_kernel<T, Units, ProjectSink<T>, Project<T>>, pull_kernel<T, Units>, few_kernel<T, Units>,
       gate_rows_kernel<T, Units>}...};
};

template <typename Table>
struct HalfKernels;

template <typename... Units>
struct HalfKernels<UnitTable<Units...>> {
  static constexpr HalfWeights table[] = {
      {scan_kernel<float, Units, StoreSink<float>, Store<float>, Pair>,
       scan_kernel<float, Units, ProjectSink<float>, Project<float>, Pair>,
       few_kernel<float, Units, Half>}...};
};

#if RNNMEM_PAIR_PRODUCTS
template <typename Table>
struct PairsKernels;

template <typename... Units>
struct PairsKernels<UnitTable<Units...>> {
  static constexpr PairsKernel table[] = {
      scan_kernel<float, Units, StoreSink<float, Half>, Store<float, Half>, Pair, Pair>...};
};
#endif

}  // namespace RNNMEM_ISA
}  // namespace rnnmem
