// AVX-512 as every server processor that has it offers it (F, DQ, VL, BW).
#include <cstdint>
#include <cstring>
#include <new>

#if defined(__x86_64__)
// The tables' functions are the baseline's: they run before the instruction set is known to be there.
#  include "dispatch.h"

static bool runs_here() {
  return __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512bw");
}

#  pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")
#  define RNNMEM_ISA avx512
#  define RNNMEM_VECTOR_BYTES 64
#  define RNNMEM_VECTOR_REGISTERS 32
#  include "cpu/kernels.h"

namespace rnnmem {

const Isa isa_avx512 = {"avx512",
                        runs_here,
                        RNNMEM_VECTOR_BYTES,
                        Kernels<float, AllUnits>::table,
                        Kernels<double, AllUnits>::table,
                        HalfKernels<AllUnits>::table,
                        moments_kernel<float>,
                        moments_kernel<double>};

}  // namespace rnnmem
#endif
