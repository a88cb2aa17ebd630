// AVX2 with FMA.
#include <cstdint>
#include <cstring>
#include <new>

#if defined(__x86_64__)
// The tables' functions are the baseline's: they run before the instruction set is known to be there.
#  include "dispatch.h"

static bool runs_here() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

#  pragma GCC target("avx2,fma")
#  define RNNMEM_ISA avx2
#  define RNNMEM_VECTOR_BYTES 32
#  define RNNMEM_VECTOR_REGISTERS 16
#  include "cpu/kernels.h"

namespace rnnmem {

const Isa isa_avx2 = {"avx2",
                      runs_here,
                      RNNMEM_VECTOR_BYTES,
                      Kernels<float, AllUnits>::table,
                      Kernels<double, AllUnits>::table,
                      HalfKernels<AllUnits>::table,
                      moments_kernel<float>,
                      moments_kernel<double>};

}  // namespace rnnmem
#endif
