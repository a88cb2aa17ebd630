// What every machine of this architecture runs: SSE2 on x86-64, NEON on aarch64.
#include <cstdint>
#include <cstring>
#include <new>

#define RNNMEM_ISA baseline
#define RNNMEM_VECTOR_BYTES 16
#if defined(__aarch64__)
#  define RNNMEM_VECTOR_REGISTERS 32
#  define RNNMEM_ISA_NAME "neon"
#else
#  define RNNMEM_VECTOR_REGISTERS 16
#  define RNNMEM_ISA_NAME "baseline"
#endif
#include "cpu/kernels.h"

namespace rnnmem {

const Isa isa_baseline = {RNNMEM_ISA_NAME,
                          [] { return true; },
                          RNNMEM_VECTOR_BYTES,
                          Kernels<float, AllUnits>::table,
                          Kernels<double, AllUnits>::table,
                          HalfKernels<AllUnits>::table,
                          moments_kernel<float>,
                          moments_kernel<double>};

}  // namespace rnnmem
