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

Target resolve(const std::string& runtime, std::optional<int64_t> ranks,
               const ScaleMethod& method = ScaleMethod::kAsymmetric) {
  ScaleOptions options;
  options.runtime.release = runtime;
  options.serving_ranks = ranks;
  options.method = method;
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
  for (const ScaleMethod& method : ScaleMethod::all())
    EXPECT_EQ(resolve("0.3.0", {}, method).method, method);
}

TEST(Target, IsSymmetricWhereTheReleaseKnowsNoOtherAndSaysSo) {
  const Target symmetric = resolve("0.0.3", {}, ScaleMethod::kSymmetric);
  const Target by_default = resolve("0.0.3", {}, ScaleMethod::kAsymmetric);
  EXPECT_EQ(by_default.method, ScaleMethod::kSymmetric);
  ASSERT_EQ(by_default.warnings.size(), symmetric.warnings.size() + 1);
  std::string all;
  for (const std::string& warning : by_default.warnings) all += warning;
  EXPECT_HOLDS("knows only symmetric scales", all);
  for (const ScaleMethod& method : ScaleMethod::all()) {
    if (method == ScaleMethod::kAsymmetric) continue;
    const auto resolved = [&] { return resolve("0.0.3", {}, method); };
    if (method.is_symmetric()) {
      EXPECT_EQ(resolved().method, method);
      EXPECT_EQ(resolved().warnings, symmetric.warnings);
    } else {
      EXPECT_HOLDS("holds no zero points", message_of(resolved));
    }
  }
}

TEST(Target, IsRefusedWhereTheReleaseWouldMisreadIt) {
  EXPECT_HOLDS("3", message_of([] { resolve("0.3.0", 3); }));
  EXPECT_NE(message_of([] { resolve("0.4.0", {}); }), "nothing was thrown");
}

}  // namespace
}  // namespace kvcalib
