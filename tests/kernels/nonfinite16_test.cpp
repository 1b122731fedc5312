// SPDX-License-Identifier: Apache-2.0
#include "kernels/nonfinite16.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace kvcalib::kernels {
namespace {

int found_in(const std::vector<uint16_t>& bits, uint16_t mask, int64_t first, int64_t last) {
  int found = 0;
  cpu::nonfinite16({bits.data(), std::ssize(bits), mask, &found}, first, last);
  return found;
}

TEST(Nonfinite16, FlagsExactlyThePatternsWithAllExponentBits) {
  for (const uint16_t mask : {kHalfExponent, kBfloat16Exponent}) {
    for (int pattern = 0; pattern <= 0xffff; ++pattern) {
      const std::vector<uint16_t> bits{static_cast<uint16_t>(pattern)};
      ASSERT_EQ(found_in(bits, mask, 0, 1), (pattern & mask) == mask ? 1 : 0) << pattern;
    }
  }
}

TEST(Nonfinite16, FindsOneElementAnywhere) {
  for (const int64_t place : {0, 1, 15, 16, 63, 70000, 131071, 131079}) {
    std::vector<uint16_t> bits(131080, 0x7bff);
    bits[static_cast<size_t>(place)] = 0xfc00;
    EXPECT_EQ(found_in(bits, kHalfExponent, 0, std::ssize(bits)), 1) << place;
    bits[static_cast<size_t>(place)] = 0x7bff;
    EXPECT_EQ(found_in(bits, kHalfExponent, 0, std::ssize(bits)), 0);
  }
}

TEST(Nonfinite16, LooksAtNothingOutsideItsRange) {
  std::vector<uint16_t> bits(100, 0);
  bits[9] = bits[50] = 0x7f80;
  EXPECT_EQ(found_in(bits, kBfloat16Exponent, 10, 50), 0);
  EXPECT_EQ(found_in(bits, kBfloat16Exponent, 10, 51), 1);
  EXPECT_EQ(found_in(bits, kBfloat16Exponent, 9, 10), 1);
  EXPECT_EQ(found_in(bits, kBfloat16Exponent, 9, 9), 0);
}

TEST(Nonfinite16, RefusesAMaskOfAnotherFormat) {
  EXPECT_THROW(found_in({0}, 0x7800, 0, 1), std::invalid_argument);
}

}  // namespace
}  // namespace kvcalib::kernels
