// What one core of this machine can do at most: fused multiply-adds in float32, products of bfloat16 pairs,
// and reading from each level of its caches. Prints JSON: operations a second (null where there are no such
// instructions), and bytes a second by kibibytes read again and again.
#if defined(__AVX512BF16__)
#  include <immintrin.h>
#endif

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;
#endif
typedef float Vec __attribute__((vector_size(kBytes)));
constexpr int kLanes = kBytes / 4;

template <typename Work>
double best_seconds(Work work) {
  double best = 1e9;
  for (int i = 0; i < 30; ++i) {
    const auto begun = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - begun;
    if (spent.count() < best) best = spent.count();
  }
  return best;
}

// Ten independent chains hide the latency of two steps a cycle; each adds the product of two vectors.
template <typename Step>
double rate_of(Step step, int products) {
  constexpr int kChains = 10, kRounds = 1000000;
  static float sink[kLanes];
  const double seconds = best_seconds([&] {
    Vec sum[kChains] = {}, a, b;
    for (int i = 0; i < kLanes; ++i) a[i] = 0.999f, b[i] = 1e-3f;
    for (int round = 0; round < kRounds; ++round) {
#pragma GCC unroll 10
      for (int c = 0; c < kChains; ++c) sum[c] = step(sum[c], a, b);
      asm volatile("" : "+x"(a));
    }
    for (int c = 0; c < kChains; ++c)
      for (int i = 0; i < kLanes; ++i) sink[i] += sum[c][i];
  });
  asm volatile("" : : "r"(sink) : "memory");
  return 2.0 * kChains * kRounds * products / seconds;
}

double fma_rate() {
  return rate_of([](Vec sum, Vec a, Vec b) { return sum * a + b; }, kLanes);
}

#if defined(__AVX512BF16__)
double pairs_rate() {
  const auto step = [](Vec sum, Vec a, Vec b) {
    return reinterpret_cast<Vec>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(a),
                                                  reinterpret_cast<__m512bh>(b)));
  };
  return rate_of(step, 2 * kLanes);
}
#endif

double read_rate(int64_t kibibytes) {
  const int64_t vectors = kibibytes * 1024 / kBytes, times = 1 + 64 * 1024 / kibibytes;
  std::vector<float> memory(vectors * kLanes + kLanes, 1.f);
  const float* from =
      reinterpret_cast<const float*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
  Vec total = {};
  const double seconds = best_seconds([&] {
    for (int64_t time = 0; time < times; ++time) {
      Vec sum[8] = {};
      for (int64_t i = 0; i + 8 <= vectors; i += 8)
        for (int c = 0; c < 8; ++c) sum[c] += *reinterpret_cast<const Vec*>(from + (i + c) * kLanes);
      for (int c = 0; c < 8; ++c) total += sum[c];
      asm volatile("" : "+x"(total) : : "memory");
    }
  });
  return double(vectors) * kBytes * times / seconds;
}

int main() {
  std::printf("{\"fma\": %.4g, ", fma_rate());
#if defined(__AVX512BF16__)
  std::printf("\"pairs\": %.4g, ", pairs_rate());
#else
  std::printf("\"pairs\": null, ");
#endif
  std::printf("\"read\": {");
  const int64_t sizes[] = {16, 256, 512, 1024, 2048, 4096, 8192, 262144};
  for (int64_t size : sizes)
    std::printf("%s\"%ld\": %.4g", size == sizes[0] ? "" : ", ", long(size), read_rate(size));
  std::printf("}}\n");
}
