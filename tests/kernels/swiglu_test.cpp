// SPDX-License-Identifier: Apache-2.0
#include "kernels/swiglu.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/exponential.h"
#include "tests/kernels/kernel_test_data.h"

namespace kvcalib::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The distance between neighbouring floats at the value.
double unit_in_last_place(double value) {
  const int exponent = std::max(std::ilogb(static_cast<float>(value)), -126);
  return std::ldexp(1.0, exponent - 23);
}

TEST(Exponential, IsWithinTwoUnitsInTheLastPlace) {
  std::vector<float> in;
  for (double x = -110.0; x < 88.75; x += 0.00037) in.push_back(static_cast<float>(x));
  for (int exponent = -60; exponent < 0; ++exponent) {
    in.push_back(std::ldexp(1.37f, exponent));
    in.push_back(std::ldexp(-1.37f, exponent));
  }
  std::vector<float> out;
  for (const float x : in) out.push_back(cpu::exponential(x));
  double worst = 0.0;
  for (size_t i = 0; i < in.size(); ++i) {
    const double exact = std::exp(static_cast<double>(in[i]));
    if (exact > std::numeric_limits<float>::max()) continue;
    const double place = exact < 0x1p-149 ? 0x1p-149 : unit_in_last_place(exact);
    worst = std::max(worst, std::abs(out[i] - exact) / place);
  }
  EXPECT_LE(worst, 2.0);
}

TEST(Exponential, SaturatesAndPassesNanThrough) {
  std::vector<float> values{0.0f,    -0.0f,  88.8f,      1e30f,         kInfinity,
                            -104.5f, -1e30f, -kInfinity, std::nanf(""), 1.0f};
  for (float& value : values) value = cpu::exponential(value);
  EXPECT_EQ(values[0], 1.0f);
  EXPECT_EQ(values[1], 1.0f);
  for (int i : {2, 3, 4}) EXPECT_EQ(values[i], kInfinity) << i;
  for (int i : {5, 6, 7}) EXPECT_EQ(values[i], 0.0f) << i;
  EXPECT_TRUE(std::isnan(values[8]));
}

template <typename T>
class Swiglu : public ::testing::Test {};
TYPED_TEST_SUITE(Swiglu, ElementTypes);

template <typename T>
std::vector<T> swiglu_of(const std::vector<T>& gate_up, int64_t tokens, int64_t width,
                         int64_t split) {
  std::vector<T> out(static_cast<size_t>(tokens * width), from_float<T>(77.0f));
  const SwigluArguments<T> arguments{gate_up.data(), out.data(), tokens, width};
  cpu::swiglu(arguments, 0, split);
  cpu::swiglu(arguments, split, tokens);
  return out;
}

TYPED_TEST(Swiglu, MultipliesTheGatedHalves) {
  using T = TypeParam;
  for (const int64_t width : {1, 7, 16, 129}) {
    const int64_t tokens = 5;
    const auto gate_up = random_values<T>(tokens * 2 * width, 11, 3.0f);
    const auto out = swiglu_of(gate_up, tokens, width, 2);
    for (int64_t token = 0; token < tokens; ++token) {
      for (int64_t i = 0; i < width; ++i) {
        const double gate = to_float(gate_up[token * 2 * width + i]);
        const double up = to_float(gate_up[token * 2 * width + width + i]);
        const double expected = gate / (1.0 + std::exp(-gate)) * up;
        EXPECT_NEAR(to_float(out[token * width + i]), expected,
                    std::abs(expected) * (unit_roundoff<T>() / 2 + 4 * 0x1p-23) + 0x1p-24)
            << token << ' ' << i;
      }
    }
  }
}

TYPED_TEST(Swiglu, DoesNotDependOnTheSplit) {
  const auto gate_up = random_values<TypeParam>(9 * 2 * 37, 12, 3.0f);
  const auto whole = swiglu_of(gate_up, 9, 37, 9);
  for (const int64_t split : {0, 1, 5}) {
    EXPECT_TRUE(same_bits(swiglu_of(gate_up, 9, 37, split), whole)) << split;
  }
}

TYPED_TEST(Swiglu, SaturatesAndPassesNanThrough) {
  using T = TypeParam;
  const float nan = std::nanf("");
  const std::vector<float> gate{200.0f, -200.0f, nan, 1.0f, kInfinity, 0.0f};
  const std::vector<float> up{2.0f, 2.0f, 1.0f, nan, 1.0f, 5.0f};
  std::vector<T> gate_up;
  for (const float value : gate) gate_up.push_back(from_float<T>(value));
  for (const float value : up) gate_up.push_back(from_float<T>(value));
  const auto out = widened(swiglu_of(gate_up, 1, 6, 1));
  EXPECT_EQ(out[0], 400.0f);
  EXPECT_EQ(out[1], 0.0f);
  EXPECT_TRUE(std::isnan(out[2]));
  EXPECT_TRUE(std::isnan(out[3]));
  EXPECT_EQ(out[4], kInfinity);
  EXPECT_EQ(out[5], 0.0f);
}

}  // namespace
}  // namespace kvcalib::kernels
