// What every unit header shares.
#pragma once

#if defined(__CUDACC__)
#  define RNNMEM_STEP static __host__ __device__ __forceinline__
#else
#  define RNNMEM_STEP static inline __attribute__((always_inline))
#endif
