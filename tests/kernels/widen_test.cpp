// SPDX-License-Identifier: Apache-2.0
#include "kernels/widen.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

namespace kvcalib::kernels {
namespace {

std::vector<uint16_t> all_patterns() {
  std::vector<uint16_t> patterns;
  for (int pattern = 0; pattern <= 0xffff; ++pattern) {
    patterns.push_back(static_cast<uint16_t>(pattern));
  }
  return patterns;
}

// By arithmetic on the fields of the IEEE format.
uint32_t half_as_float_bits(uint16_t pattern) {
  const int exponent = pattern >> 10 & 31;
  const int fraction = pattern & 1023;
  const uint32_t sign = static_cast<uint32_t>(pattern >> 15) << 31;
  if (exponent == 31 && fraction != 0) return sign | 0x7fc00000u | fraction << 13;
  if (exponent == 31) return sign | 0x7f800000u;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return sign | std::bit_cast<uint32_t>(static_cast<float>(magnitude));
}

TEST(Widen, IsExactForEveryHalfPattern) {
  const std::vector<uint16_t> patterns = all_patterns();
  std::vector<float> floats(patterns.size());
  cpu::widen(patterns.data(), false, floats.data(), std::ssize(patterns));
  for (const uint16_t pattern : patterns) {
    ASSERT_EQ(std::bit_cast<uint32_t>(floats[pattern]), half_as_float_bits(pattern)) << pattern;
  }
}

TEST(Widen, TakesHalvesOneByOneAsItTakesManyAtOnce) {
  for (const uint16_t pattern : all_patterns()) {
    float value;
    cpu::widen(&pattern, false, &value, 1);
    ASSERT_EQ(std::bit_cast<uint32_t>(value), half_as_float_bits(pattern)) << pattern;
  }
}

TEST(Widen, KeepsEveryBfloat16Pattern) {
  const std::vector<uint16_t> patterns = all_patterns();
  std::vector<uint32_t> floats(patterns.size());
  cpu::widen(patterns.data(), true, reinterpret_cast<float*>(floats.data()), std::ssize(patterns));
  for (const uint16_t pattern : patterns) {
    ASSERT_EQ(floats[pattern], static_cast<uint32_t>(pattern) << 16);
  }
}

TEST(Widen, WritesNothingBeyondItsCount) {
  const std::vector<uint16_t> patterns(64, 0x3c00);
  for (const bool bfloat16 : {false, true}) {
    for (int64_t count = 0; count < 40; ++count) {
      std::vector<float> floats(41, -7.0f);
      cpu::widen(patterns.data() + 1, bfloat16, floats.data(), count);
      for (int64_t i = 0; i < count; ++i) EXPECT_NE(floats[i], -7.0f);
      for (int64_t i = count; i < 41; ++i) EXPECT_EQ(floats[i], -7.0f) << count;
    }
  }
}

}  // namespace
}  // namespace kvcalib::kernels
