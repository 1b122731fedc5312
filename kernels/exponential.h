// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

namespace kvcalib::kernels::cpu {

// exp(x) = 2^n (1 + series) with n = round(x / ln 2), r = x - n ln 2, |r| <= ln(2) / 2, and
// exp(r) - 1 by its Taylor series, whose remainder r^8 / 8! is below a tenth of a unit in the last
// place.  Without branches, so that loops over it vectorise, and always inlined, since files for
// several processors use it.
struct ReducedExponential {
  int32_t n;
  float series;
};
[[gnu::always_inline]] inline ReducedExponential reduced_exponential(float x) {
  constexpr float kRounder =
      12582912.0f;  // 1.5 * 2^23: adding it leaves an integer in the low bits
  constexpr float kOneOverLn2 = 1.44269504088896341f;
  constexpr float kLn2High = 0.693145751953125f;  // 15 bits, so that n * kLn2High is exact
  constexpr float kLn2Low = 1.42860682030941723e-6f;
  const float shifted = x * kOneOverLn2 + kRounder;
  const float n = shifted - kRounder;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float series = 1.0f / 5040.0f;
  series = series * r + 1.0f / 720.0f;
  series = series * r + 1.0f / 120.0f;
  series = series * r + 1.0f / 24.0f;
  series = series * r + 1.0f / 6.0f;
  series = series * r + 0.5f;
  series = series * r * r + r;
  return {
      static_cast<int32_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRounder)),
      series};
}

[[gnu::always_inline]] inline float power_of_two(int32_t n) {  // a normal number
  return std::bit_cast<float>((static_cast<uint32_t>(n) + 127u) << 23);
}

// exp(x): overflows to infinity, underflows to 0, NaN gives NaN.
[[gnu::always_inline]] inline float exponential(float x) {
  // Beyond these bounds the result is infinity or 0.  A NaN compares false and passes through.
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.0f ? -104.0f : x;
  const ReducedExponential reduced = reduced_exponential(x);
  // 2^n in two factors, each of which is a normal number: n is within [-150, 128].
  const int32_t first = reduced.n >> 1;
  return (1.0f + reduced.series) * power_of_two(first) * power_of_two(reduced.n - first);
}

// exp(x) for x < 88, at least exp(-87), which is 2e-38: for probabilities, of which so little does
// not matter.  NaN gives NaN.
[[gnu::always_inline]] inline float probability(float x) {
  x = x < -87.0f ? -87.0f : x;
  const ReducedExponential reduced = reduced_exponential(x);
  return (1.0f + reduced.series) * power_of_two(reduced.n);
}

}  // namespace kvcalib::kernels::cpu
