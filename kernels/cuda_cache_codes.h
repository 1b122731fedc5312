// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cache_blocks.h"
#include "kernels/cache_codes.h"

namespace kvcalib::kernels {

// A number that others are divided by, over and over.
struct Divisor {
  float value = 1.0f, reciprocal = 1.0f;

  Divisor() = default;
  __device__ explicit Divisor(float number) : value(number) {
    reciprocal = __fdiv_rn(1.0f, number);
  }

  // Whether quotient<true> may be asked.
  __device__ bool is_plain() const { return value >= 0x1p-90f && value <= 0x1p100f; }

  // dividend / value as IEEE rounds it; of a quotient of 1024 or more only nearly.  kPlain: by
  // Markstein's theorem (IBM J. Res. Dev. 34, 1990) from the rounded reciprocal, without a branch:
  // the second correction starts within an ulp.  Below 2^-11 the corrections may underflow and the
  // result be an ulp off, which int8 and E4M3 alike call 0.
  template <bool kPlain>
  __device__ float quotient(float dividend) const {
    if constexpr (!kPlain) return __fdiv_rn(dividend, value);
    const float nearly = __fmul_rn(dividend, reciprocal);
    const float nearer = __fmaf_rn(__fmaf_rn(-nearly, value, dividend), reciprocal, nearly);
    const float result = __fmaf_rn(__fmaf_rn(-nearer, value, dividend), reciprocal, nearer);
    return fabsf(nearly) < 1024.0f ? result : nearly;  // infinities and NaN are not corrected
  }
};

// The counts of one thread.  NaN leaves them alone.
struct ThreadCount {
  int clipped = 0;
  float lowest = INFINITY, highest = -INFINITY;

  __device__ void observe(float steps, float code) {
    if (steps > 128.0f || steps < -129.0f) ++clipped;
    lowest = fminf(lowest, code);
    highest = fmaxf(highest, code);
  }
};

inline constexpr float kWholeSteps = 12582912.0f;  // 1.5 * 2^23: floats lie a whole step apart

// As cache_loops_of_set.h has it; intrinsics keep the compiler from fusing.
template <bool kPlain, bool kCounted>
__device__ inline float through_int8(float value, const Divisor& scale, float zero,
                                     ThreadCount& count) {
  const float steps = scale.quotient<kPlain>(__fsub_rn(value, zero));
  float bounded = steps > 127.0f ? 127.0f : steps;
  bounded = bounded < -128.0f ? -128.0f : bounded;
  const float code = __fsub_rn(__fadd_rn(bounded, kWholeSteps), kWholeSteps);
  if constexpr (kCounted) count.observe(steps, code);
  return __fadd_rn(__fmul_rn(code, scale.value), zero);
}

// The same, and the code + 128, which NaN has of 0.
template <bool kPlain, bool kCounted>
__device__ inline float encode_int8(float value, const Divisor& scale, float zero,
                                    CodeRounding rounding, uint32_t& code, ThreadCount& count) {
  const float steps = scale.quotient<kPlain>(__fsub_rn(value, zero));
  const float bounded = fmaxf(fminf(steps, 127.0f), -128.0f);  // NaN: any
  float whole = __fadd_rn(bounded, kWholeSteps);
  float number = __fsub_rn(whole, kWholeSteps);
  if (rounding == CodeRounding::kAwayFromZero && fabsf(bounded) - fabsf(number) == 0.5f) {
    number += copysignf(1.0f, bounded);
    whole = __fadd_rn(number, kWholeSteps);
  }
  const bool is_nan = isnan(steps);
  code = is_nan ? 128u : (__float_as_uint(whole) + 128u) & 0xffu;
  if (is_nan) number = steps;
  if constexpr (kCounted) count.observe(steps, number);
  return __fadd_rn(__fmul_rn(number, scale.value), zero);
}

template <bool kPlain>
__device__ inline float through_float8(float value, const Divisor& scale) {
  constexpr float kLargest = 448.0f, kSmallestNormal = 0.015625f;
  constexpr uint32_t kExponent = 0x7f800000u, kRaise = 20u << 23;  // 20 fraction bits fewer
  const float magnitude = fabsf(scale.quotient<kPlain>(value));
  const float bounded = magnitude < kLargest ? magnitude : kLargest;
  const float steps =
      __uint_as_float((__float_as_uint(fmaxf(bounded, kSmallestNormal)) & kExponent) + kRaise);
  const float rounded = __fsub_rn(__fadd_rn(bounded, steps), steps);
  return isnan(magnitude) ? magnitude : __fmul_rn(copysignf(rounded, value), scale.value);
}

// What a cache's code does to `elements` channels of a head that a thread has, of every token.
template <CacheCode kCode, int elements, bool kCounted>
class CacheCodes {
 public:
  __device__ void set_scale(int element, float scale) {
    scale_[element] = Divisor(scale);
    plain_ = plain_ && scale_[element].is_plain();
  }
  __device__ void set_zero(int element, float zero) { zero_[element] = zero; }

  // x' for x of one token.  `lanes` neighbouring threads have a head, and come here together.
  __device__ void convert(float (&values)[elements], int lanes) {
    if constexpr (kCode == CacheCode::kInt8OfToken) {
      if (!find_scale(values, lanes)) return;
    }
    if (plain_) {
      convert_all<true>(values);
    } else {
      convert_all<false>(values);
    }
  }

  // The same of int8 with channels' scales, and the codes + 128.
  __device__ void encode(float (&values)[elements], CodeRounding rounding,
                         uint32_t (&codes)[elements]) {
    static_assert(kCode == CacheCode::kInt8);
    if (plain_) {
      encode_all<true>(values, rounding, codes);
    } else {
      encode_all<false>(values, rounding, codes);
    }
  }

  // Of all threads of a head, by all threads of the warp.
  __device__ void reduce_counts(int lanes) {
    for (int offset = lanes / 2; offset > 0; offset /= 2) {
      count_.clipped += __shfl_xor_sync(kWholeWarp, count_.clipped, offset);
      count_.lowest = fminf(count_.lowest, __shfl_xor_sync(kWholeWarp, count_.lowest, offset));
      count_.highest = fmaxf(count_.highest, __shfl_xor_sync(kWholeWarp, count_.highest, offset));
    }
  }

  // What is read beforehand may be stale, hence too narrow, which costs an atomic in vain but loses
  // nothing.
  __device__ void add_counts(CodeCount& counts, int64_t values) const {
    using Word = unsigned long long;
    static_assert(sizeof(Word) == sizeof(counts.values), "atomics of 64 bits");
    if (values > 0) atomicAdd(reinterpret_cast<Word*>(&counts.values), static_cast<Word>(values));
    if (count_.clipped > 0)
      atomicAdd(reinterpret_cast<Word*>(&counts.clipped), static_cast<Word>(count_.clipped));
    if (count_.lowest > count_.highest) return;  // no codes
    const int lowest = static_cast<int>(count_.lowest);
    const int highest = static_cast<int>(count_.highest);
    if (lowest < __ldcg(&counts.lowest)) atomicMin(&counts.lowest, lowest);
    if (highest > __ldcg(&counts.highest)) atomicMax(&counts.highest, highest);
  }

 private:
  static constexpr unsigned kWholeWarp = 0xffffffffu;
  static constexpr bool kOfToken = kCode == CacheCode::kInt8OfToken;

  // Of one token's head; false where it is 0.
  __device__ bool find_scale(const float (&values)[elements], int lanes) {
    float low = INFINITY, high = -INFINITY;
#pragma unroll
    for (int i = 0; i < elements; ++i) {
      low = values[i] < low ? values[i] : low;  // leaves out NaN, signaling ones too
      high = values[i] > high ? values[i] : high;
    }
    for (int offset = lanes / 2; offset > 0; offset /= 2) {
      low = fminf(low, __shfl_xor_sync(kWholeWarp, low, offset));
      high = fmaxf(high, __shfl_xor_sync(kWholeWarp, high, offset));
    }
    const float scale = __fdiv_rn(__fsub_rn(high, low), 255.0f);
    const float middle = __fmul_rn(__fadd_rn(high, low), 0.5f);
    scale_[0] = Divisor(scale);
    zero_[0] = __fadd_rn(middle, __fmul_rn(scale, 0.5f));
    plain_ = scale_[0].is_plain();
    return scale != 0.0f;
  }

  template <bool kPlain>
  __device__ void convert_all(float (&values)[elements]) {
#pragma unroll
    for (int i = 0; i < elements; ++i) {
      const int own = kOfToken ? 0 : i;
      if constexpr (kCode == CacheCode::kFloat8)
        values[i] = through_float8<kPlain>(values[i], scale_[own]);
      else
        values[i] = through_int8<kPlain, kCounted>(values[i], scale_[own], zero_[own], count_);
    }
  }

  template <bool kPlain>
  __device__ void encode_all(float (&values)[elements], CodeRounding rounding,
                             uint32_t (&codes)[elements]) {
#pragma unroll
    for (int i = 0; i < elements; ++i)
      values[i] =
          encode_int8<kPlain, kCounted>(values[i], scale_[i], zero_[i], rounding, codes[i], count_);
  }

  Divisor scale_[kOfToken ? 1 : elements];
  float zero_[kOfToken ? 1 : elements] = {};
  bool plain_ = true;
  ThreadCount count_;
};

}  // namespace kvcalib::kernels
