// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/verify_scales.h"

#include <limits>

#include "tests/runtimes/verify_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;

class VerifyScalesTest : public VerifyFixture {};

TEST_F(VerifyScalesTest, FindsNoScalesAtAll) {
  put(folder_.path(), {{"config.ini", fixture::config_text(model(2))}});
  edit_config("quant_policy", "4");
  EXPECT_HOLDS("has no KV scale files; calibrate it", fault());
}

TEST_F(VerifyScalesTest, FindsAMissingFile) {
  write_output(2);
  remove(scale_file_name(1, 0));
  EXPECT_HOLDS(
      "layers.1.past_kv_scale.0.weight: missing: v0.3.0 would silently take scale 1 and zero 0",
      fault());
  edit_config("use_context_fmha", "0");
  EXPECT_HOLDS("missing: v0.0.14 would crash",
               fault(std::nullopt, find_turbomind_release("0.0.14")));
}

TEST_F(VerifyScalesTest, FindsScalesOfFewerRanksThanAreServed) {
  write_output(1);
  EXPECT_TRUE(verify().good());
  EXPECT_TRUE(verify(1).good());
  edit_config("vocab_size", "52");
  const VerifyReport report = verify(2);
  ASSERT_FALSE(report.good());
  EXPECT_HOLDS(
      "1 of 2 serving ranks have scale files: v0.3.0 would silently take scale 1 and zero 0; "
      "export them with --serving-tp 2",
      report.faults[0]);
}

TEST_F(VerifyScalesTest, FindsScalesOfMoreRanksThanAreServed) {
  write_output(1);
  write_scales(statistics(), 4);
  remove(kStatisticsFileName);
  const VerifyReport report = verify();
  ASSERT_EQ(report.faults.size(), 3u);
  EXPECT_HOLDS("rank 1: has 3 scale files, but 1 ranks are served: scales cut for more ranks clip",
               report.faults[0]);
  EXPECT_TRUE(verify(4).good());
}

TEST_F(VerifyScalesTest, FindsScalesOfAnotherModel) {
  write_output(2);
  edit_config("num_layer", "2");
  remove(kStatisticsFileName);
  EXPECT_HOLDS("layer 2: has 2 scale files, but num_layer = 2", fault());
}

TEST_F(VerifyScalesTest, EndsForAConfigThatClaimsTheSky) {
  write_output(2);
  edit_config("num_layer", "65536");
  remove(kStatisticsFileName);
  const VerifyReport report = verify();
  EXPECT_EQ(report.faults.size(), 2u * 17u);
  EXPECT_HOLDS("rank 1: 65517 more scale files are missing", report.faults.back());
  edit_config("num_layer", "4611686018427387904");
  EXPECT_HOLDS("num_layer = 4611686018427387904, expected a positive number up to 65536", fault());
}

TEST_F(VerifyScalesTest, FindsNamesTheRuntimeDoesNotRead) {
  write_output(2);
  put(folder_.path(), {{"layers.0.past_kv_scale.00.weight", "x"}});
  EXPECT_HOLDS("layers.0.past_kv_scale.00.weight: no name the runtime reads", fault());
}

TEST_F(VerifyScalesTest, FindsSizesOfAnotherRelease) {
  write_output(2);
  put(folder_.path(), {{scale_file_name(1, 1), std::string(8, 'x')}});
  EXPECT_HOLDS("layers.1.past_kv_scale.1.weight: has 8 bytes, v0.3.0 reads 16; export again",
               fault());
  write_output(2, find_turbomind_release("0.0.14"), ScaleMethod::kSymmetric);
  const VerifyReport report = verify(std::nullopt, find_turbomind_release("0.0.3"));
  ASSERT_EQ(report.faults.size(), 6u);
  EXPECT_HOLDS("has 16 bytes, v0.0.3 reads 8", report.faults[0]);
}

TEST_F(VerifyScalesTest, FindsValuesThatNoCalibrationGives) {
  write_output(2);
  remove(kStatisticsFileName);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto fault_of = [&](const KvScale& scale) {
    write_scale(0, 1, scale);
    return fault();
  };
  EXPECT_HOLDS("layers.0.past_kv_scale.1.weight: K has scale nan and zero 0; expected finite",
               fault_of({kNan, 0.0f, 1.0f, 0.1f}));
  EXPECT_HOLDS("V has scale 1 and zero -inf; expected finite",
               fault_of({1.0f, 0.5f, 1.0f, -kInfinity}));
  EXPECT_HOLDS("K has scale 0; expected a positive", fault_of({0.0f, 0.5f, 1.0f, 0.1f}));
  EXPECT_HOLDS("V has scale -1; expected a positive", fault_of({1.0f, 0.5f, -1.0f, 0.1f}));
  EXPECT_HOLDS("scale 1 and zero 0 for K and V, which is what no calibration gives",
               fault_of({1.0f, 0.0f, 1.0f, 0.0f}));
}

TEST_F(VerifyScalesTest, FindsARangeThatDoesNotHoldZero) {
  write_output(2);
  remove(kStatisticsFileName);
  write_scale(0, 0, {0.125f, 20.0f, 0.125f, 0.5f});
  EXPECT_HOLDS("K has scale 0.125 and zero 20: its int8 range [4, 35.875] does not hold 0",
               fault());
  write_scale(0, 0, {0.125f, 0.5f, 0.125f, -20.0f});
  EXPECT_HOLDS("V has scale 0.125 and zero -20: its int8 range [-36, -4.125] does not hold 0",
               fault());
  // Ranges that end at 0, as kvcalib writes them.
  write_scale(0, 0, {1.0f / 255.0f, 0.5f, 1.0f / 255.0f, -0.5f});
  EXPECT_TRUE(verify().good());
}

TEST_F(VerifyScalesTest, FindsAMixOfMethods) {
  write_output(2);
  remove(kStatisticsFileName);
  write_scale(1, 1, compute_scales(statistics(), 2, ScaleMethod::kSymmetric)[3]);
  EXPECT_HOLDS("layers.1.past_kv_scale.1.weight: symmetric among asymmetric scales", fault());
}

TEST_F(VerifyScalesTest, TakesADegenerateLayerForBothMethods) {
  write_output(2);
  remove(kStatisticsFileName);
  write_scale(1, 1, {kSmallestScale, 0.0f, kSmallestScale, 0.0f});
  EXPECT_TRUE(verify().good());
}

}  // namespace
}  // namespace kvcalib
