// SPDX-License-Identifier: Apache-2.0
#pragma once

// Part of every row_loops_*.cpp, each compiled for other processors; in an unnamed namespace, so
// that the linker cannot take one processor's copy for another's.
#include <bit>
#include <cstdint>
#include <limits>

#include "kernels/cache_loops.h"

namespace kvcalib::kernels::cpu {
namespace {

constexpr uint32_t kSign = 0x80000000u;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

inline float magnitude_of(float value) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) & ~kSign);
}

inline float with_sign_of(float magnitude, float value) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) |
                              (std::bit_cast<uint32_t>(value) & kSign));
}

// A finite magnitude, rounded to even, of a type with so many fraction bits and such a smallest
// normal number.  A power of two whose neighbours lie that type's steps apart does the rounding.
template <int kFractionBits>
float rounded_to_steps(float magnitude, float smallest_normal) {
  constexpr uint32_t kExponent = 0x7f800000u, kRaise = 23 - kFractionBits;
  const float normal = magnitude > smallest_normal ? magnitude : smallest_normal;
  const float steps =
      std::bit_cast<float>((std::bit_cast<uint32_t>(normal) & kExponent) + (kRaise << 23));
  return (magnitude + steps) - steps;
}

struct HalfRounding {
  static float rounded(float value) {
    constexpr float kBeyond = 65536.0f, kLargest = 65504.0f;
    const float magnitude = magnitude_of(value);
    const float bounded = magnitude < kBeyond ? magnitude : kBeyond;
    const float steps = rounded_to_steps<10>(bounded, 0x1p-14f);
    const float result = steps > kLargest ? kInfinity : steps;
    return value == value ? with_sign_of(result, value) : value;
  }
};

struct Bfloat16Rounding {
  static float rounded(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    const uint32_t result = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    return value == value ? std::bit_cast<float>(result) : value;
  }
};

struct NoRounding {
  static float rounded(float value) { return value; }
};

inline float as_float8(float value) {
  constexpr float kLargest = 448.0f;
  const float magnitude = magnitude_of(value);
  const float bounded = magnitude < kLargest ? magnitude : kLargest;
  const float result = with_sign_of(rounded_to_steps<3>(bounded, 0x1p-6f), value);
  return value == value ? result : value;
}

// Without codes: beyond all of them.
constexpr int32_t kLowest = std::numeric_limits<int32_t>::max();
constexpr int32_t kHighest = std::numeric_limits<int32_t>::min();

// Counts of one row, in words that vectorise.
struct RowCount {
  int32_t clipped = 0, lowest = kLowest, highest = kHighest;
};

// In its neighbourhood floats lie a whole step apart.
constexpr float kWhole = 0x1.8p23f;

// int8's code of (value - zero) / scale, as a float.
template <CodeRounding kRounding = CodeRounding::kToEven>
float code_of(float steps) {
  float bounded = steps > 127.0f ? 127.0f : steps;
  bounded = bounded < -128.0f ? -128.0f : bounded;
  const float even = (bounded + kWhole) - kWhole;
  if constexpr (kRounding == CodeRounding::kToEven) return even;
  const bool is_cut = magnitude_of(bounded) - magnitude_of(even) == 0.5f;
  return is_cut ? even + with_sign_of(1.0f, bounded) : even;
}

inline int32_t whole_of(float code) {
  return std::bit_cast<int32_t>(code + kWhole) - std::bit_cast<int32_t>(kWhole);
}

// Of numbers of steps.  By integers, whose extremes vectorise; sums of comparisons do not branch.
template <CodeRounding kRounding = CodeRounding::kToEven>
RowCount count_codes(const float* __restrict__ steps, int64_t width) {
  int32_t clipped = 0, lowest = kLowest, highest = kHighest;
  for (int64_t i = 0; i < width; ++i) {
    const int32_t is_nan = steps[i] != steps[i] ? -1 : 0;
    const int32_t code = whole_of(code_of<kRounding>(steps[i]));
    const int32_t low = (code & ~is_nan) | (kLowest & is_nan);
    const int32_t high = (code & ~is_nan) | (kHighest & is_nan);
    clipped += static_cast<int32_t>(steps[i] > 128.0f) + static_cast<int32_t>(steps[i] < -129.0f);
    lowest = low < lowest ? low : lowest;
    highest = high > highest ? high : highest;
  }
  return {clipped, lowest, highest};
}

// Channels with a scale and a zero each, or with the first ones'.
template <typename Type, bool kCounted, bool kOfToken>
RowCount int8_values(float* __restrict__ values, const float* __restrict__ scales,
                     const float* __restrict__ zeros, int64_t width) {
  const float first_scale = scales[0], first_zero = zeros[0];
  float steps_of[kLongestHead];
  for (int64_t i = 0; i < width; ++i) {
    const float scale = kOfToken ? first_scale : scales[i];
    const float zero = kOfToken ? first_zero : zeros[i];
    const float value = Type::rounded(values[i]);
    const float steps = (value - zero) / scale;
    if constexpr (kCounted) steps_of[i] = steps;
    values[i] = Type::rounded(code_of(steps) * scale + zero);
  }
  return kCounted ? count_codes(steps_of, width) : RowCount();
}

inline void add(const RowCount& row, CodeCount& count) {
  count.clipped += static_cast<uint64_t>(row.clipped);
  count.lowest = row.lowest < count.lowest ? row.lowest : count.lowest;
  count.highest = row.highest > count.highest ? row.highest : count.highest;
}

template <typename Type>
struct CacheLoopsOf {
  static void round(float* values, int64_t width) {
    for (int64_t i = 0; i < width; ++i) values[i] = Type::rounded(values[i]);
  }

  static void int8(float* values, const float* scale, const float* zero, int64_t width,
                   CodeCount* count) {
    if (count == nullptr) {
      int8_values<Type, false, false>(values, scale, zero, width);
      return;
    }
    count->values += static_cast<uint64_t>(width);
    add(int8_values<Type, true, false>(values, scale, zero, width), *count);
  }

  // In independent lanes, which vectorise.
  static void int8_of_token(float* values, int64_t width, CodeCount* count) {
    constexpr int64_t kLanes = 16;
    float low[kLanes], high[kLanes];
    for (int64_t lane = 0; lane < kLanes; ++lane) low[lane] = kInfinity, high[lane] = -kInfinity;
    const auto widen = [&](int64_t lane, float& stored) {
      stored = Type::rounded(stored);
      low[lane] = stored < low[lane] ? stored : low[lane];
      high[lane] = stored > high[lane] ? stored : high[lane];
    };
    const int64_t whole = width / kLanes * kLanes;
    for (int64_t start = 0; start < whole; start += kLanes)
      for (int64_t lane = 0; lane < kLanes; ++lane) widen(lane, values[start + lane]);
    for (int64_t i = whole; i < width; ++i) widen(i - whole, values[i]);
    for (int64_t half = kLanes / 2; half > 0; half /= 2) {
      for (int64_t lane = 0; lane < half; ++lane) {
        low[lane] = low[lane + half] < low[lane] ? low[lane + half] : low[lane];
        high[lane] = high[lane + half] > high[lane] ? high[lane + half] : high[lane];
      }
    }

    const float scale = (high[0] - low[0]) / 255.0f;
    const float zero = (high[0] + low[0]) * 0.5f + scale * 0.5f;
    if (count != nullptr) count->values += static_cast<uint64_t>(width);
    if (scale == 0.0f) return;
    if (count == nullptr)
      int8_values<Type, false, true>(values, &scale, &zero, width);
    else
      add(int8_values<Type, true, true>(values, &scale, &zero, width), *count);
  }

  static void float8(float* __restrict__ values, const float* __restrict__ scale, int64_t width) {
    for (int64_t i = 0; i < width; ++i) {
      const float value = Type::rounded(values[i]);
      values[i] = Type::rounded(as_float8(value / scale[i]) * scale[i]);
    }
  }

  static void encode(float* values, const float* scale, const float* zero, int64_t width,
                     CodeRounding rounding, uint8_t* codes, CodeCount* count) {
    if (rounding == CodeRounding::kToEven)
      encode_values<CodeRounding::kToEven>(values, scale, zero, width, codes, count);
    else
      encode_values<CodeRounding::kAwayFromZero>(values, scale, zero, width, codes, count);
  }

  static void decode(const uint8_t* __restrict__ codes, const float* __restrict__ scale,
                     const float* __restrict__ zero, int64_t width, float* __restrict__ values) {
    for (int64_t i = 0; i < width; ++i) {
      const auto code = static_cast<float>(static_cast<int32_t>(codes[i]) - 128);
      values[i] = Type::rounded(code * scale[i] + zero[i]);
    }
  }

  static constexpr CacheLoops make() {
    return {.round = round,
            .int8 = int8,
            .int8_of_token = int8_of_token,
            .float8 = float8,
            .encode = encode,
            .decode = decode};
  }

 private:
  template <CodeRounding kRounding>
  static void encode_values(float* __restrict__ values, const float* __restrict__ scales,
                            const float* __restrict__ zeros, int64_t width,
                            uint8_t* __restrict__ codes, CodeCount* count) {
    float steps_of[kLongestHead];
    int32_t code_of_value[kLongestHead];
    for (int64_t i = 0; i < width; ++i) {
      const float steps = (Type::rounded(values[i]) - zeros[i]) / scales[i];
      const float code = code_of<kRounding>(steps);
      steps_of[i] = steps;
      code_of_value[i] = steps == steps ? whole_of(code) : 0;
      values[i] = Type::rounded(code * scales[i] + zeros[i]);
    }
    for (int64_t i = 0; i < width; ++i) codes[i] = static_cast<uint8_t>(code_of_value[i] + 128);
    if (count == nullptr) return;
    count->values += static_cast<uint64_t>(width);
    add(count_codes<kRounding>(steps_of, width), *count);
  }
};

}  // namespace
}  // namespace kvcalib::kernels::cpu
