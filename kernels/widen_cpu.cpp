// SPDX-License-Identifier: Apache-2.0
#include <bit>

#include "kernels/vectorised.h"
#include "kernels/widen.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define KVCALIB_F16C
#include <immintrin.h>
#endif

namespace kvcalib::kernels::cpu {
namespace {

KVCALIB_VECTORISED
void widen_bfloat16(const uint16_t* __restrict__ in, float* __restrict__ out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    out[i] = std::bit_cast<float>(static_cast<uint32_t>(in[i]) << 16);
  }
}

float widen_half(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = bits >> 10 & 0x1fu;
  const uint32_t fraction = bits & 0x3ffu;
  if (exponent == 0x1f) {
    const uint32_t quiet = fraction != 0 ? 0x400000u : 0u;
    return std::bit_cast<float>(sign | 0x7f800000u | quiet | fraction << 13);
  }
  if (exponent == 0) {  // zero or subnormal: fraction * 2^-24, exact in fp32
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | (exponent + 127 - 15) << 23 | fraction << 13);
}

#if defined(KVCALIB_F16C)
// Returns how many elements it widened: whole groups of 8.
__attribute__((target("avx,f16c"))) int64_t widen_half_groups(const uint16_t* in, float* out,
                                                              int64_t count) {
  const int64_t whole = count / 8 * 8;
  for (int64_t i = 0; i < whole; i += 8) {
    const __m128i halves = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i));
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(halves));
  }
  return whole;
}

bool converts_in_hardware() {
  static const bool supported =
      __builtin_cpu_supports("avx") != 0 && __builtin_cpu_supports("f16c") != 0;
  return supported;
}
#endif

}  // namespace

void widen(const uint16_t* in, bool bfloat16, float* out, int64_t count) {
  if (bfloat16) {
    widen_bfloat16(in, out, count);
    return;
  }
  int64_t done = 0;
#if defined(KVCALIB_F16C)
  if (converts_in_hardware()) done = widen_half_groups(in, out, count);
#endif
  for (; done < count; ++done) out[done] = widen_half(in[done]);
}

}  // namespace kvcalib::kernels::cpu
