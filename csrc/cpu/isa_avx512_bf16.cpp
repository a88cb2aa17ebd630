// AVX-512 with products of bfloat16 pairs.
#include <cstdint>
#include <cstring>
#include <new>

#if defined(__x86_64__)
#  include <immintrin.h>

// The tables' functions are the baseline's: they run before the instruction set is known to be there.
#  include "dispatch.h"

static bool runs_here() {
  return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}

#  pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx512bf16,avx2,fma")
#  define RNNMEM_ISA avx512_bf16
#  define RNNMEM_VECTOR_BYTES 64
#  define RNNMEM_VECTOR_REGISTERS 32
#  define RNNMEM_PAIR_PRODUCTS 1
#  include "cpu/kernels.h"

namespace rnnmem {

const PairProducts pairs_avx512 = {runs_here, RNNMEM_VECTOR_BYTES, PairsKernels<AllUnits>::table};

}  // namespace rnnmem
#endif
