// SPDX-License-Identifier: Apache-2.0
#include "tests/generation/forced_decoding.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "sharding/formats/turbomind_directory.h"
#include "tests/generation/even_int8.h"

namespace kvcalib {
namespace {

class PrefillAndDecoding : public testing::Test {
 protected:
  PrefillAndDecoding() {
    std::mt19937 random(11);
    while (text_.size() < 90) text_.push_back(static_cast<int32_t>(3 + random() % 2000));
  }

  CacheFormat int8() const { return even_int8(directory_.config(), 0.1f); }

  // The largest difference between decoding the last tokens and taking them into the prompt.
  double difference(const CacheFormat& format, const DecodingRule& rule) {
    ForcedDecoding model(directory_, at::kCPU);
    constexpr size_t kPrompt = 70;
    const std::vector<double> decoded = model.score(text_, kPrompt, format, rule);
    double worst = 0;
    for (size_t i = 0; i < decoded.size(); ++i) {
      const auto first = std::span(text_).first(kPrompt + i + 1);
      const double expected = model.score(first, kPrompt + i, format, rule).front();
      worst = std::max(worst, std::abs(decoded[i] - expected));
    }
    return worst;
  }

  const TurboMindDirectory directory_ = TurboMindDirectory::open("configs/tiny-4m/weights");
  std::vector<int32_t> text_ = {1};
};

// K and V of 16 bits are rounded where the last bits of float32 sums may decide; hardly ever int8.
TEST_F(PrefillAndDecoding, FindTheSameProbabilities) {
  EXPECT_LT(difference({}, {}), 1e-3);
  EXPECT_LT(difference(int8(), {}), 1e-5);
}

// Where the newest token is not read back of int8, a prompt's is all the same.
TEST_F(PrefillAndDecoding, DifferWhereTheRuntimeDecodesOtherwise) {
  EXPECT_GT(difference(int8(), {.newest_is_exact = true}), 1e-4);
}

}  // namespace
}  // namespace kvcalib
