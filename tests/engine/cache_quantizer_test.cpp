// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/cache_quantizer.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>
#include <utility>

#include "tests/engine/quantizer_fixture.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

// K and V of some tokens, in rows that hold q as well, as a hook sees them.
struct Rows {
  explicit Rows(int64_t tokens) : qkv(at::randn({tokens, 8, 16})) {}
  explicit Rows(at::Tensor qkv) : qkv(std::move(qkv)) {}
  Rows copy() const { return Rows(qkv.clone()); }

  at::Tensor keys() const { return qkv.narrow(1, 4, 2); }
  at::Tensor values() const { return qkv.narrow(1, 6, 2); }

  at::Tensor qkv;
};

at::Tensor of_layer(const std::vector<float>& table, int64_t layer) {
  return at::tensor(table).view({3, 2, 16}).select(0, layer);
}

// By Torch's own operations, which fuse nothing; at::round takes halves to even.
at::Tensor expected_int8(const at::Tensor& values, const ChannelScales& scales, int64_t layer,
                         at::ScalarType type) {
  const at::Tensor scale = of_layer(scales.scale, layer), zero = of_layer(scales.zero, layer);
  const at::Tensor rounded = values.to(type).to(at::kFloat);
  const at::Tensor codes = ((rounded - zero) / scale).round().clamp(-128, 127);
  return (codes * scale + zero).to(type).to(at::kFloat);
}

StreamProfile codes_of(const CacheQuantizer& quantizer) {
  StreamProfile profile;
  quantizer.fill_codes(profile);
  return profile;
}

TEST(CacheQuantizer, ChangesKAndVByTheScalesOfTheirLayerAndNothingElse) {
  at::manual_seed(0);
  for (const WeightType weights : {WeightType::kFloat16, WeightType::kBFloat16}) {
    const ModelConfig config = small_model(weights);
    const auto type = weights == WeightType::kFloat16 ? at::kHalf : at::kBFloat16;
    const CacheFormat format = random_format(CacheFormat::Kind::kInt8, config);
    CacheQuantizer quantizer(format, config, at::kCPU);
    for (const int64_t tokens : {1, 31, 200}) {
      const Rows before(tokens), after = before.copy();
      quantizer.apply(2, after.keys(), after.values());
      EXPECT_TRUE(at::equal(after.keys(), expected_int8(before.keys(), format.keys, 2, type)));
      EXPECT_TRUE(
          at::equal(after.values(), expected_int8(before.values(), format.values, 2, type)));
      EXPECT_TRUE(at::equal(after.qkv.narrow(1, 0, 4), before.qkv.narrow(1, 0, 4)));
    }
  }
}

TEST(CacheQuantizer, OfSixteenBitsRounds) {
  const ModelConfig config = small_model(WeightType::kBFloat16);
  CacheQuantizer quantizer({}, config, at::kCPU);
  const Rows before(50), after = before.copy();
  quantizer.apply(0, after.keys(), after.values());
  EXPECT_TRUE(at::equal(after.keys(), before.keys().to(at::kBFloat16).to(at::kFloat)));
  EXPECT_TRUE(codes_of(quantizer).at(0).key_codes.empty());
}

TEST(CacheQuantizer, ChangesKAloneAndVAloneAsBothTogetherAndThenCountsNothing) {
  for (const CacheFormat::Kind kind : kCacheKinds) {
    const ModelConfig config = small_model();
    CacheQuantizer quantizer(random_format(kind, config), config, at::kCPU);
    const Rows before(40);
    const Rows keys = before.copy(), values = before.copy(), both = before.copy();
    quantizer.apply_keys(1, keys.keys());
    quantizer.apply_values(1, values.values());
    const StreamProfile profile = codes_of(quantizer);
    for (const CodeUse& use : profile.at(1).key_codes) EXPECT_EQ(use, CodeUse());
    quantizer.apply(1, both.keys(), both.values());
    EXPECT_TRUE(at::equal(keys.keys(), both.keys()));
    EXPECT_TRUE(at::equal(keys.values(), before.values()));
    EXPECT_TRUE(at::equal(values.values(), both.values()));
    EXPECT_TRUE(at::equal(values.keys(), before.keys()));
  }
}

TEST(CacheQuantizer, CountsByLayerAndHeadUntilItIsReset) {
  const ModelConfig config = small_model();
  CacheFormat format{CacheFormat::Kind::kInt8, {}, {}};
  for (ChannelScales* scales : {&format.keys, &format.values}) {
    scales->scale.assign(3 * 2 * 16, 0.5f);
    scales->zero.assign(3 * 2 * 16, 0.0f);
  }
  CacheQuantizer quantizer(format, config, at::kCPU);
  const at::Tensor keys = at::zeros({100, 2, 16}), values = at::zeros({100, 2, 16});
  keys.select(1, 1).select(0, 99).fill_(3);       // code 6
  values.select(1, 0).select(0, 5)[4] = 64.5;     // 129: clipped
  values.select(1, 0).select(0, 70)[15] = -64.5;  // -129: not yet
  for (int i = 0; i < 2; ++i) quantizer.apply(1, keys.clone(), values.clone());
  const StreamProfile profile = codes_of(quantizer);
  ASSERT_EQ(profile.size(), 3u);
  EXPECT_EQ(profile[1].key_codes, (std::vector<CodeUse>{{3200, 0, 0, 0}, {3200, 0, 0, 6}}));
  EXPECT_EQ(profile[1].value_codes, (std::vector<CodeUse>{{3200, 2, -128, 127}, {3200, 0, 0, 0}}));
  EXPECT_EQ(profile[0].key_codes, std::vector<CodeUse>(2));
  quantizer.reset();
  EXPECT_EQ(codes_of(quantizer)[1].value_codes, std::vector<CodeUse>(2));
}

TEST(CacheQuantizer, FillsCodesBesideWhatElseAProfileHolds) {
  const ModelConfig config = small_model();
  CacheQuantizer quantizer({CacheFormat::Kind::kInt8OfToken, {}, {}}, config, at::kCPU);
  const Rows rows(7);
  quantizer.apply(0, rows.keys(), rows.values());
  StreamProfile profile(3);
  profile[0].hidden_error = {1, 2};
  quantizer.fill_codes(profile);
  EXPECT_EQ(profile[0].hidden_error, (SquaredError{1, 2}));
  EXPECT_EQ(profile[0].key_codes, (std::vector<CodeUse>(2, {7 * 16, 0, -128, 127})));
}

TEST(CacheQuantizer, GivesTheSameBitsAndCountsOnHoweverManyThreads) {
  const int threads = at::get_num_threads();
  for (const CacheFormat::Kind kind : kCacheKinds) {
    const ModelConfig config = small_model();
    const CacheFormat format = random_format(kind, config);
    const Rows before(777);
    at::Tensor first;
    StreamProfile first_codes;
    for (const int count : {1, 2, 3}) {
      at::set_num_threads(count);
      CacheQuantizer quantizer(format, config, at::kCPU);
      const Rows after = before.copy();
      quantizer.apply(0, after.keys(), after.values());
      if (count == 1) first = after.qkv, first_codes = codes_of(quantizer);
      EXPECT_TRUE(at::equal(after.qkv, first));
      EXPECT_EQ(codes_of(quantizer), first_codes);
    }
    at::set_num_threads(threads);
  }
}

TEST(CacheQuantizer, RefusesFormatsOfOtherModelsAndScalesThatAreNone) {
  const ModelConfig config = small_model();
  const auto refusal = [&](auto change) {
    CacheFormat format = random_format(CacheFormat::Kind::kInt8, config);
    change(format);
    return message_of([&] { CacheQuantizer(format, config, at::kCPU); });
  };
  EXPECT_HOLDS("95 scales of K, expected 96",
               refusal([](CacheFormat& format) { format.keys.scale.pop_back(); }));
  EXPECT_HOLDS("0 zeros of V, expected 96",
               refusal([](CacheFormat& format) { format.values.zero.clear(); }));
  EXPECT_HOLDS("96 zeros of K, expected 0",
               refusal([](CacheFormat& format) { format.kind = CacheFormat::Kind::kFloat8; }));
  EXPECT_HOLDS("a scale of V is 0",
               refusal([](CacheFormat& format) { format.values.scale[7] = 0; }));
  EXPECT_HOLDS("a zero of K is nan", refusal([](CacheFormat& format) {
                 format.keys.zero[7] = std::numeric_limits<float>::quiet_NaN();
               }));
}

TEST(CacheQuantizer, RefusesTensorsOfOtherShapesAndTypes) {
  const ModelConfig config = small_model();
  const CacheQuantizer quantizer({}, config, at::kCPU);
  const auto refuses = [&](int64_t layer, const at::Tensor& tensor) {
    EXPECT_THROW(quantizer.apply_keys(layer, tensor), c10::Error) << tensor.sizes();
  };
  refuses(3, at::zeros({5, 2, 16}));
  refuses(-1, at::zeros({5, 2, 16}));
  refuses(0, at::zeros({5, 3, 16}));
  refuses(0, at::zeros({5, 32}));
  refuses(0, at::zeros({5, 16, 2}).transpose(1, 2));
  refuses(0, at::zeros({2, 5, 16}).transpose(0, 1));
  refuses(0, at::zeros({5, 2, 16}, at::kHalf));
}

}  // namespace
}  // namespace kvcalib
