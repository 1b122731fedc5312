// SPDX-License-Identifier: Apache-2.0
#include "tests/benchmarks/multiply_add_peak.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace kvcalib::kernels {
namespace {

#ifdef __x86_64__

constexpr int64_t kRounds = 2'000'000;
constexpr int kSums = 12;  // more than latency times units

volatile float kept = 0.0f;  // what is used has to be computed

[[gnu::target("avx2,fma")]] void multiply_and_add_256() {
  __m256 sums[kSums], factor = _mm256_set1_ps(0.999f);
  for (__m256& sum : sums) sum = _mm256_set1_ps(1.0f);
  for (int64_t round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (__m256& sum : sums) sum = _mm256_fmadd_ps(sum, factor, factor);
  }
  for (const __m256& sum : sums) kept = kept + _mm256_cvtss_f32(sum);
}

[[gnu::target("avx512f")]] void multiply_and_add_512() {
  __m512 sums[kSums], factor = _mm512_set1_ps(0.999f);
  for (__m512& sum : sums) sum = _mm512_set1_ps(1.0f);
  for (int64_t round = 0; round < kRounds; ++round) {
#pragma GCC unroll 12
    for (__m512& sum : sums) sum = _mm512_fmadd_ps(sum, factor, factor);
  }
  for (const __m512& sum : sums) kept = kept + _mm512_cvtss_f32(sum);
}

double best_rate(void (*run)(), int lanes) {
  double best = 0.0;
  for (int turn = 0; turn < 10; ++turn) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    best = std::max(best, 2.0 * kSums * lanes * static_cast<double>(kRounds) / taken.count());
  }
  return best;
}

#endif

}  // namespace

double multiply_add_peak() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f")) return best_rate(multiply_and_add_512, 16);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return best_rate(multiply_and_add_256, 8);
#endif
  return 0.0;
}

}  // namespace kvcalib::kernels
