// SPDX-License-Identifier: Apache-2.0
#include <bit>

#include "kernels/float_rows.h"
#include "kernels/swiglu.h"
#include "kernels/vectorised.h"

namespace kvcalib::kernels::cpu {
namespace {

// exp(x) = 2^n exp(r) with n = round(x / ln 2), |r| <= ln(2) / 2, and exp(r) by its Taylor series,
// whose remainder r^8 / 8! is below a tenth of a unit in the last place.
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

KVCALIB_VECTORISED
void exponential_row(const float* in, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = exponential(in[i]);
}

KVCALIB_VECTORISED
void swiglu_row(const float* __restrict__ gate, const float* __restrict__ up,
                float* __restrict__ out, int64_t width) {
  for (int64_t i = 0; i < width; ++i) out[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
}

}  // namespace

void exponential(const float* in, float* out, int64_t count) { exponential_row(in, out, count); }

template <typename T>
void swiglu(const SwigluArguments<T>& arguments, int64_t first_token, int64_t last_token) {
  arguments.check();
  const int64_t width = arguments.width;
  std::vector<float> gate_up_scratch, out_scratch;
  for (int64_t token = first_token; token < last_token; ++token) {
    T* const out = arguments.out + token * width;
    const float* const gate_up =
        as_floats(arguments.gate_up + token * 2 * width, 2 * width, gate_up_scratch);
    float* const row = floats_for(out, width, out_scratch);
    swiglu_row(gate_up, gate_up + width, row, width);
    store_floats(row, width, out);
  }
}

template void swiglu(const SwigluArguments<float>&, int64_t, int64_t);
template void swiglu(const SwigluArguments<__half>&, int64_t, int64_t);
template void swiglu(const SwigluArguments<__nv_bfloat16>&, int64_t, int64_t);

}  // namespace kvcalib::kernels::cpu
