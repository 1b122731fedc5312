// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

namespace kvcalib::kernels::cpu {

// exp(x) = 2^n exp(r) with n = round(x / ln 2), |r| <= ln(2) / 2, and exp(r) by its Taylor series,
// whose remainder r^8 / 8! is below a tenth of a unit in the last place.  Without branches, so that
// loops over it vectorise, and always inlined, since files for several processors use it; overflows
// to infinity, underflows to 0, NaN gives NaN.
[[gnu::always_inline]] inline float exponential(float x) {
  // Beyond these bounds the result is infinity or 0.  A NaN compares false and passes through.
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.0f ? -104.0f : x;
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
  // 2^n in two factors, each of which is a normal number: n is within [-150, 128].
  const int32_t exponent =
      static_cast<int32_t>(std::bit_cast<uint32_t>(shifted) - std::bit_cast<uint32_t>(kRounder));
  const int32_t first = exponent >> 1;
  const uint32_t first_bits = (static_cast<uint32_t>(first) + 127u) << 23;
  const uint32_t second_bits = (static_cast<uint32_t>(exponent - first) + 127u) << 23;
  return (1.0f + series) * std::bit_cast<float>(first_bits) * std::bit_cast<float>(second_bits);
}

}  // namespace kvcalib::kernels::cpu
