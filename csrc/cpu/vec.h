// Vectors of lanes, and tanh and sigmoid on them, from the compiler's vector extension: one source for every
// instruction set, in float and double.
#pragma once

#include "job.h"

#define RNNMEM_INLINE inline __attribute__((always_inline))

namespace rnnmem {
inline namespace RNNMEM_ISA {

template <typename T, int Bytes>
struct Vector {
  typedef T type __attribute__((vector_size(Bytes)));
};
template <typename T>
using Vec = typename Vector<T, RNNMEM_VECTOR_BYTES>::type;
template <typename T>
inline constexpr int lanes = RNNMEM_VECTOR_BYTES / sizeof(T);

template <typename T>
RNNMEM_INLINE Vec<T> load(const T* from) {
  Vec<T> v;
  __builtin_memcpy(&v, from, sizeof v);  // no alignment is asked for
  return v;
}

template <typename T>
RNNMEM_INLINE void store(T* to, Vec<T> v) {
  __builtin_memcpy(to, &v, sizeof v);
}

// x - 0 is x for every x, x + 0 is not for -0: only this form folds to a plain broadcast.
template <typename T>
RNNMEM_INLINE Vec<T> broadcast(T x) {
  return x - Vec<T>{};
}

// The numbers of pairs, apart: the first of each, and the second.
RNNMEM_INLINE Vec<float> first(Vec<Pair> pairs) {
  return reinterpret_cast<Vec<float>>(pairs << 16);
}
RNNMEM_INLINE Vec<float> second(Vec<Pair> pairs) {
  return reinterpret_cast<Vec<float>>(pairs & 0xffff0000u);
}

// How an element A of a row and elements B of columns make a product, summed in T: `each` numbers of the row
// go with one element of a column, and `column` takes out the one for the i-th of them.
template <typename A, typename B>
struct Factors;

template <typename T>
struct Factors<T, T> {
  static constexpr int each = 1;
  static RNNMEM_INLINE Vec<T> column(const T* from, int) { return load(from); }
  static RNNMEM_INLINE Vec<T> product(T a, Vec<T> column, Vec<T> sum) { return sum + broadcast(a) * column; }
};

// Bfloat16 is the upper half of a float: its product is that of floats, to the bit.
template <>
struct Factors<float, Pair> : Factors<float, float> {
  static constexpr int each = 2;
  static RNNMEM_INLINE Vec<float> column(const Pair* from, int i) {
    return i ? second(load(from)) : first(load(from));
  }
};

#if RNNMEM_PAIR_PRODUCTS
// Both numbers at once, each product rounded to float on its way into the sum.
template <>
struct Factors<Pair, Pair> {
  static constexpr int each = 1;
  static RNNMEM_INLINE Vec<Pair> column(const Pair* from, int) { return load(from); }
  static RNNMEM_INLINE Vec<float> product(Pair a, Vec<Pair> column, Vec<float> sum) {
    return reinterpret_cast<Vec<float>>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum),
                                                         reinterpret_cast<__m512bh>(broadcast(a)),
                                                         reinterpret_cast<__m512bh>(column)));
  }
};

// To bfloat16, the nearest or the even one of two.
RNNMEM_INLINE void store(Half* to, Vec<float> v) {
  const __m256bh rounded = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(v));
  __builtin_memcpy(to, &rounded, sizeof rounded);
}
#endif

// The sum over lanes, by halves, always in the same order.
template <typename T, int Bytes>
RNNMEM_INLINE T sum_lanes(typename Vector<T, Bytes>::type v) {
  if constexpr (Bytes == 2 * sizeof(T)) {
    return v[0] + v[1];
  } else {
    typename Vector<T, Bytes / 2>::type low, high;
    __builtin_memcpy(&low, &v, sizeof low);
    __builtin_memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof low, sizeof high);
    return sum_lanes<T, Bytes / 2>(low + high);
  }
}

// exp is written as 2^n (1 + e), n = round(y / ln 2), r = y - n ln 2 in two parts, e = expm1(r) = r + r^2
// q(r). q interpolates (expm1(r) - r) / r^2 at Chebyshev nodes of |r| <= 1.02 ln(2) / 2, highest power first.
template <typename T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  using Bits = uint32_t;
  static constexpr int mantissa = 23;
  static constexpr float round =
      12582912.f + 127;  // 1.5 * 2^23 + bias: adding it leaves 2^n's exponent below
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float q[] = {0.00019892991763f, 0.0013935451844f, 0.0083333090865f,
                                0.041666448366f,   0.16666666684f,   0.5f};  // relative error of e: 2^-30
  static constexpr float exp_most = 88.f, exp_least = -40.f;  // 2^n finite; 1 + exp(least) is 1
  static constexpr float tanh_most = 10.f;                    // tanh(most) is 1
};

template <>
struct ExpConstants<double> {
  using Bits = uint64_t;
  static constexpr int mantissa = 52;
  static constexpr double round = 6755399441055744. + 1023;
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  static constexpr double q[] = {2.0916212837493853e-9,
                                 2.5107353767261877e-8,
                                 2.7557269903215793e-7,
                                 2.7557250163029180e-6,
                                 2.4801587328555859e-5,
                                 1.9841269879033044e-4,
                                 1.3888888888882870e-3,
                                 8.3333333333249057e-3,
                                 4.1666666666666670e-02,
                                 1.6666666666666672e-1,
                                 0.5};  // relative error of e: 2^-60
  static constexpr double exp_most = 709., exp_least = -60.;
  static constexpr double tanh_most = 20.;
};

// Relative error against the exact function: tanh and sigmoid under 4 ulp, down to the smallest normal
// number; NaN stays NaN, infinities saturate. Asserted in tests/test_cpu_scan.py.
template <typename T>
struct Math {
  using V = Vec<T>;
  using C = ExpConstants<T>;
  typedef typename C::Bits Bits __attribute__((vector_size(RNNMEM_VECTOR_BYTES)));

  static RNNMEM_INLINE V at_most(V y, T bound) {
    const V most = opaque(bound);
    return y > most ? most : y;
  }
  static RNNMEM_INLINE V at_least(V y, T bound) {
    const V least = opaque(bound);
    return y < least ? least : y;
  }

  // exp(F x) = scale * (1 + F e), of the returned e. The constants take the factor: each power of two is
  // exact.
  template <int F>
  static RNNMEM_INLINE V expm1_reduced(V x, V& scale) {
    const V shifted = x * T(F * 1.4426950408889634) + C::round;
    const V n = shifted - C::round;
    const V r = (x - n * (C::ln2_high / F)) - n * (C::ln2_low / F);
    scale = reinterpret_cast<V>(reinterpret_cast<Bits>(shifted) << C::mantissa);
    constexpr int terms = sizeof C::q / sizeof C::q[0];
    V q = broadcast(C::q[0] * power(F, terms));
    for (int i = 1; i < terms; ++i) q = q * r + C::q[i] * power(F, terms - i);
    return r + r * r * q;
  }

  // tanh(x) = m / (m + 2), m = expm1(2x): keeps its relative accuracy near 0, where exp would cancel.
  static RNNMEM_INLINE V tanh(V x) {
    V scale;
    const V e = expm1_reduced<2>(at_least(at_most(x, C::tanh_most), -C::tanh_most), scale);
    const V m = (scale + scale) * e + (scale - T(1));
    return m / (m + T(2));
  }

  static RNNMEM_INLINE V sigmoid(V x) {
    V scale;
    const V e = expm1_reduced<-1>(at_least(at_most(x, -C::exp_least), -C::exp_most), scale);
    return T(1) / (T(1) + (scale - scale * e));
  }

  static RNNMEM_INLINE V relu(V x) { return at_least(x, T(0)); }

  static RNNMEM_INLINE V where_positive(V x, V y) { return x > broadcast(T(0)) ? y : V{}; }

 private:
  // A constant that the compiler does not see through: so a comparison with it becomes one instruction.
  static RNNMEM_INLINE V opaque(T value) {
    V v = broadcast(value);
#if defined(__x86_64__)
    asm("" : "+x"(v));
#endif
    return v;
  }
  static constexpr T power(T base, int exponent) {
    return exponent ? base * power(base, exponent - 1) : T(1);
  }
};

}  // namespace RNNMEM_ISA
}  // namespace rnnmem
