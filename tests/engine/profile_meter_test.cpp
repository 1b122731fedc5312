// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/profile_meter.h"

#include <gtest/gtest.h>

#include "tests/engine/quantizer_fixture.h"
#include "tests/engine/segment_case.h"

namespace kvcalib {
namespace {

using Kind = CacheFormat::Kind;

// Of two kv heads, each read by two query heads.
const SegmentHeads kHeads{4, 2, 16};

CacheFormat int8_of_steps(const ModelConfig& config, float key, float value) {
  const auto channels = static_cast<size_t>(config.layers * config.kv_heads * config.head_dim);
  return {Kind::kInt8,
          {std::vector<float>(channels, key), std::vector<float>(channels)},
          {std::vector<float>(channels, value), std::vector<float>(channels)}};
}

// Three trees, of which the middle one is sampled.
struct Sample {
  const ModelConfig config = small_model();
  const std::vector<TokenTree> trees = {tree_of({{-1, 5}}), tree_of({{-1, 20}, {0, 4}, {0, 7}}),
                                        tree_of({{-1, 9}})};
  const Segments segments = segments_of({trees[1]});
  const at::Tensor qkv = kHeads.random(45, at::kFloat);

  at::Tensor queries() const { return kHeads.part(qkv, 0, 4); }
  at::Tensor keys() const { return kHeads.part(qkv, 4, 2); }
  at::Tensor values() const { return kHeads.part(qkv, 6, 2); }

  // What is seen in layer 1, of one format.
  TreeErrors errors_of(const CacheFormat& format, int64_t first_row = 0) const {
    const CacheQuantizer quantizer(format, config, at::kCPU);
    ProfileMeter meter(config, {{7, 5, segments}}, {nullptr, &quantizer}, at::kCPU);
    const auto from = [&](const at::Tensor& all) { return all.slice(0, first_row); };
    meter.see_attention(1, first_row, from(queries()), from(keys()), from(values()));
    return meter.errors().at(0);
  }
};

// Of the second of two streams, in layer 1.
const double* in_layer_1(const TreeErrors& errors) {
  return errors.values.data() + 4 * TreeErrors::width(2);
}

// By kv head: squared distance of a and b [rows, 4 * 16].
double distance(const at::Tensor& a, const at::Tensor& b, int64_t head) {
  return (a - b).narrow(1, head * 32, 32).square().sum().item<double>();
}

TEST(ProfileMeter, FindsTheErrorsOfKOfVAndOfBothByHead) {
  at::manual_seed(5);
  const Sample sample;
  const CacheFormat format = random_format(Kind::kInt8, sample.config);
  const CacheQuantizer quantizer(format, sample.config, at::kCPU);
  const at::Tensor rows = sample.qkv.narrow(0, 5, 31);
  const auto attend = [&](bool key, bool value) {
    const at::Tensor changed = rows.clone();
    if (key) quantizer.apply_keys(1, kHeads.part(changed, 4, 2));
    if (value) quantizer.apply_values(1, kHeads.part(changed, 6, 2));
    return kHeads.attend_in_double(changed, sample.segments, 0);
  };
  const at::Tensor exact = attend(false, false);
  const TreeErrors found = sample.errors_of(format);
  EXPECT_EQ(found.tree, 7);
  ASSERT_EQ(found.values.size(), 2U * 3 * 10);
  for (int64_t head = 0; head < 2; ++head) {
    const double* const own = in_layer_1(found) + 4 * head;
    const auto expect = [&](double error, double expected) {
      EXPECT_GT(expected, 0);
      EXPECT_NEAR(error, expected, 1e-4 * expected) << "head " << head;
    };
    expect(own[0], distance(attend(true, false), exact, head));
    expect(own[1], distance(attend(false, true), exact, head));
    expect(own[2], distance(attend(true, true), exact, head));
    expect(own[3], distance(exact, at::zeros_like(exact), head));
  }
  for (size_t i = 0; i < found.values.size(); ++i)
    EXPECT_EQ(found.values[i] != 0, 40 <= i && i < 48) << i;
}

TEST(ProfileMeter, FindsNoErrorOfVWhereKAloneIsCoarse) {
  const Sample sample;
  sample.values().copy_((sample.values() * 8).round() / 8);
  const TreeErrors found = sample.errors_of(int8_of_steps(sample.config, 0.5F, 0.125F));
  for (int64_t head = 0; head < 2; ++head) {
    const double* const own = in_layer_1(found) + 4 * head;
    EXPECT_GT(own[0], 0);
    EXPECT_EQ(own[1], 0);
    EXPECT_EQ(own[2], own[0]);
  }
}

TEST(ProfileMeter, FindsNoErrorOfKWhereVAloneIsCoarse) {
  const Sample sample;
  sample.keys().copy_((sample.keys() * 8).round() / 8);
  const TreeErrors found = sample.errors_of(int8_of_steps(sample.config, 0.125F, 0.5F));
  for (int64_t head = 0; head < 2; ++head) {
    const double* const own = in_layer_1(found) + 4 * head;
    EXPECT_EQ(own[0], 0);
    EXPECT_GT(own[1], 0);
    EXPECT_EQ(own[2], own[1]);
  }
}

TEST(ProfileMeter, FindsErrorsThatGrowWithTheStep) {
  at::manual_seed(6);
  const Sample sample;
  const TreeErrors fine = sample.errors_of(int8_of_steps(sample.config, 1 / 32.0F, 1 / 32.0F));
  const TreeErrors coarse = sample.errors_of(int8_of_steps(sample.config, 1 / 8.0F, 1 / 32.0F));
  for (int64_t head = 0; head < 2; ++head) {
    const double* const first = in_layer_1(fine) + 4 * head;
    const double* const second = in_layer_1(coarse) + 4 * head;
    EXPECT_NEAR(std::sqrt(second[0] / first[0]), 4, 0.8);
    EXPECT_EQ(second[1], first[1]);
    EXPECT_EQ(second[3], first[3]);
  }
}

TEST(ProfileMeter, LeavesKAndVAndCountsAsTheyAre) {
  const Sample sample;
  const at::Tensor before = sample.qkv.clone();
  CacheQuantizer quantizer(random_format(Kind::kInt8, sample.config), sample.config, at::kCPU);
  ProfileMeter meter(sample.config, {{7, 5, sample.segments}}, {&quantizer}, at::kCPU);
  meter.see_attention(1, 0, sample.queries(), sample.keys(), sample.values());
  EXPECT_TRUE(at::equal(sample.qkv, before));
  StreamProfile profile;
  quantizer.fill_codes(profile);
  EXPECT_EQ(profile.at(1).key_codes, std::vector<CodeUse>(2));
}

TEST(ProfileMeter, SeesATreeInWhateverRowsItStands) {
  const Sample sample;
  const CacheFormat format = random_format(Kind::kInt8, sample.config);
  const TreeErrors first = sample.errors_of(format, 0);
  EXPECT_EQ(sample.errors_of(format, 5), first);
  EXPECT_EQ(sample.errors_of(format, 3), first);
  EXPECT_NE(first.values, std::vector<double>(60));
  EXPECT_EQ(sample.errors_of(format, 6).values, std::vector<double>(60));  // not whole
}

TEST(ProfileMeter, FindsHowFarAStreamsHiddenStatesAreFromTheFirstOnes) {
  const Sample sample;
  const CacheQuantizer quantizer({Kind::kInt8OfToken, {}, {}}, sample.config, at::kCPU);
  ProfileMeter meter(sample.config, {{7, 5, sample.segments}}, {nullptr, &quantizer, nullptr},
                     at::kCPU);
  const at::Tensor exact = at::randn({45, 64}), other = at::randn({45, 64});
  meter.see_hidden(2, 0, 1, exact, other);
  meter.see_hidden(2, 0, 2, exact, other);  // is not looked at
  const TreeErrors found = meter.errors().at(0);
  const at::Tensor a = exact.narrow(0, 5, 31).to(at::kDouble);
  const at::Tensor b = other.narrow(0, 5, 31).to(at::kDouble);
  const double size = a.square().sum().item<double>();
  const double error = (a - b).square().sum().item<double>();
  ASSERT_EQ(found.values.size(), 90U);
  EXPECT_NEAR(found.values[58], error, 1e-5 * error);
  EXPECT_NEAR(found.values[59], size, 1e-5 * size);
  EXPECT_EQ(std::count(found.values.begin(), found.values.end(), 0.0), 88);
}

}  // namespace
}  // namespace kvcalib
