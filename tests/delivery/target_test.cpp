// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/target.h"

#include <gtest/gtest.h>

#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

ModelConfig model() {
  ModelConfig config = fixture::small_model();
  config.stored_ranks = 2;
  config.vocab = 52;
  return config;
}

Target resolve(const std::string& runtime, std::optional<int64_t> ranks, bool symmetric) {
  ScaleOptions options;
  options.runtime.release = runtime;
  options.serving_ranks = ranks;
  options.symmetric = symmetric;
  return resolve_target(model(), options, 0, 64);
}

TEST(Target, IsAsTheWeightsAreCutUnlessToldOtherwise) {
  EXPECT_EQ(resolve_target(model(), {}, 0, 64).ranks, 2);
  ModelConfig whole = model();
  whole.stored_ranks = 1;
  ScaleOptions options;
  options.serving_ranks = 4;
  EXPECT_EQ(resolve_target(whole, options, 0, 64).ranks, 4);
  EXPECT_EQ(resolve_target(model(), {}, 0, 64).runtime->release(),
            concat("v", RuntimeChoice{}.release));
}

TEST(Target, HasTheMethodThatIsAskedFor) {
  EXPECT_EQ(resolve("0.3.0", {}, false).method, ScaleMethod::kAsymmetric);
  EXPECT_EQ(resolve("0.3.0", {}, true).method, ScaleMethod::kSymmetric);
}

TEST(Target, IsSymmetricWhereTheReleaseKnowsNoOtherAndSaysSo) {
  const Target told = resolve("0.0.3", {}, false), asked = resolve("0.0.3", {}, true);
  EXPECT_EQ(told.method, ScaleMethod::kSymmetric);
  EXPECT_EQ(asked.method, ScaleMethod::kSymmetric);
  ASSERT_EQ(told.warnings.size(), asked.warnings.size() + 1);
  std::string all;
  for (const std::string& warning : told.warnings) all += warning;
  EXPECT_HOLDS("knows only symmetric scales", all);
}

TEST(Target, IsRefusedWhereTheReleaseWouldMisreadIt) {
  EXPECT_HOLDS("3", message_of([] { resolve("0.3.0", 3, false); }));
  EXPECT_NE(message_of([] { resolve("0.4.0", {}, false); }), "nothing was thrown");
}

}  // namespace
}  // namespace kvcalib
