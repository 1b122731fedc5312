// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>

#include "calibrate/engine/embedding.h"
#include "calibrate/engine/output_head.h"
#include "calibrate/engine/score_pass.h"
#include "calibrate/engine/window_visitor.h"
#include "sharding/streaming/layer_stream.h"
#include "tests/engine/quantizer_fixture.h"
#include "tests/engine/score_run.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

using Kind = CacheFormat::Kind;

constexpr int64_t kLength = 24, kWindows = 3;

float half(float value) { return static_cast<float>(static_cast<c10::Half>(value)); }

// What a cache of int8 does to K or V of a layer, a value after the other; without scales: what one
// of 16 bits does.
void convert(const at::Tensor& tensor, const ChannelScales& scales, int64_t layer) {
  const int64_t channels = tensor.size(1) * tensor.size(2);
  for (int64_t token = 0; token < tensor.size(0); ++token) {
    float* const values = tensor[token].data_ptr<float>();
    for (int64_t channel = 0; channel < channels; ++channel) {
      float value = half(values[channel]);
      if (!scales.scale.empty()) {
        const auto place = static_cast<size_t>(layer * channels + channel);
        const float quotient = (value - scales.zero[place]) / scales.scale[place];
        const float code = std::fmin(std::fmax(std::nearbyint(quotient), -128.0F), 127.0F);
        const float product = code * scales.scale[place];
        value = half(product + scales.zero[place]);
      }
      values[channel] = value;
    }
  }
}

// ln of the probabilities behind every row of windows, in double, of a pass that knows nothing of
// streams and of trees: a hook changes K and V.
at::Tensor log_probabilities(const ScoreRun& run, const std::vector<TokenTree>& windows,
                             const CacheFormat& format) {
  const c10::InferenceMode inference;
  const ModelConfig& model = run.model();
  const PlainDirectory& directory = run.directory();
  std::vector<int32_t> ids;
  for (const TokenTree& window : windows)
    ids.insert(ids.end(), window.ids.begin(), window.ids.end());
  const at::Tensor hidden = at::empty({std::ssize(ids), model.hidden});
  embed_tokens(directory, ids, hidden);
  Rendezvous rendezvous(Rank{});
  const auto communicator = make_communicator({}, at::kCPU, rendezvous);
  LayerStream stream(
      {.config = model, .plan = [&](int64_t layer) { return directory.layer_plan(layer); }},
      *communicator);
  const auto hook = [&](int64_t layer) {
    return KvHook{{},
                  [&, layer](const at::Tensor& /*queries*/, const at::Tensor& keys,
                             const at::Tensor& values) {
                    convert(keys, format.keys, layer);
                    convert(values, format.values, layer);
                  }};
  };
  WindowVisitor visitor(
      make_layer_context(model, plain_rotation(model), kLength, at::kCPU, nullptr),
      {kLength, kLength}, {0, hidden}, {.hook = hook, .output = true});
  run_layers(stream, {0, model.layers}, visitor);
  std::vector<at::Tensor> logits;
  const auto fault = OutputHead(directory, at::kCPU)
                         .run(std::vector{visitor.state().hidden}, {},
                              [&](int64_t /*first_row*/, const std::vector<at::Tensor>& block) {
                                logits.push_back(block.at(0).to(at::kDouble));
                              });
  EXPECT_FALSE(fault);
  return at::cat(logits).log_softmax(-1);
}

// That a token's scores are those of the distributions before it.
void expect_scores(const TokenScores& scores, size_t token, int32_t id, const at::Tensor& exact,
                   const at::Tensor& other) {
  const auto divergence = [](const at::Tensor& p, const at::Tensor& q) {
    return (p.exp() * (p - q)).sum().item<double>();
  };
  const auto expect = [](double found, double expected) {
    EXPECT_NEAR(found, expected, 1e-6 * (1 + expected));
  };
  expect(scores.surprise[token], -other[id].item<double>());
  expect(scores.divergence[token], divergence(exact, other));
  expect(scores.reverse_divergence[token], divergence(other, exact));
  EXPECT_EQ(scores.same_top[token] != 0, exact.argmax().equal(other.argmax()));
}

TEST(ScoreFormats, OfInt8GiveWhatAPassGivesWhoseHookIsWrittenPlainly) {
  const ScoreRun run;
  const std::vector<TokenTree> windows = scored_windows(kWindows, kLength);
  const CacheFormat format = random_format(Kind::kInt8, run.model());
  const GroupScores found =
      run.run(windows, {{"fp16", {}, {}}, {"int8", format, {}}}, {.micro_batch = 48});
  const at::Tensor exact = log_probabilities(run, windows, {});
  const at::Tensor other = log_probabilities(run, windows, format);
  double largest = 0;
  for (int64_t window = 0; window < kWindows; ++window) {
    const TokenScores& scores = found.trees[static_cast<size_t>(window)].streams.at(1);
    for (int64_t token = 1; token < kLength; ++token) {
      const int64_t before = window * kLength + token - 1;
      const auto index = static_cast<size_t>(token);
      expect_scores(scores, index, windows[static_cast<size_t>(window)].ids[index], exact[before],
                    other[before]);
      largest = std::max(largest, static_cast<double>(scores.divergence[index]));
    }
  }
  EXPECT_GT(largest, 1e-3);
}

// The sums over trees, in one layer, of the isolated errors and of the hidden states' one.
LayerProfile profile_of(const ScoreRun& run, const CacheFormat& format, int64_t layer) {
  const GroupScores found =
      run.run(scored_windows(kWindows, kLength), {{"fp16", {}, {}}, {"int8", format, {}}}, {});
  return whole_profiles(found, run.model().layers, run.model().kv_heads)
      .at(1)
      .at(static_cast<size_t>(layer));
}

CacheFormat int8_of_steps(const ModelConfig& config, float key, float value) {
  const auto channels = static_cast<size_t>(config.layers * config.kv_heads * config.head_dim);
  return {Kind::kInt8,
          {std::vector<float>(channels, key), std::vector<float>(channels)},
          {std::vector<float>(channels, value), std::vector<float>(channels)}};
}

TEST(ScoreFormats, HaveErrorsOfEveryLayerThatNoOtherLayerAddsTo) {
  const ScoreRun run;
  CacheFormat format = int8_of_steps(run.model(), 1 / 8.0F, 1 / 8.0F);
  const LayerProfile first = profile_of(run, format, 1), last = profile_of(run, format, 2);
  const auto channels = static_cast<std::ptrdiff_t>(format.keys.scale.size() / 3);
  std::fill_n(format.keys.scale.begin() + channels, channels, 1 / 2.0F);
  const LayerProfile coarse = profile_of(run, format, 1), behind = profile_of(run, format, 2);
  for (size_t head = 0; head < 4; ++head) {
    EXPECT_GT(coarse.key_error[head].error, 4 * first.key_error[head].error);
    EXPECT_EQ(coarse.value_error[head], first.value_error[head]);
    EXPECT_EQ(behind.key_error[head], last.key_error[head]);
    EXPECT_EQ(behind.both_error[head], last.both_error[head]);
  }
  EXPECT_GT(behind.hidden_error.error, last.hidden_error.error);
  EXPECT_EQ(behind.hidden_error.size, last.hidden_error.size);
}

TEST(ScoreFormats, OfSixteenBitsHaveNoErrors) {
  const ScoreRun run;
  const GroupScores found = run.run(
      scored_windows(kWindows, kLength),
      {{"fp16", {}, {}}, {"control", {}, {}}, {"per-token", {Kind::kInt8OfToken, {}, {}}, {}}});
  const size_t own = 3 * static_cast<size_t>(TreeErrors::width(4));
  ASSERT_EQ(found.errors.size(), 3U);
  for (const TreeErrors& errors : found.errors) {
    ASSERT_EQ(errors.values.size(), 3 * own);
    EXPECT_EQ(std::count(errors.values.begin(), errors.values.end(), 0.0), 2 * own);
    EXPECT_EQ(errors.values.at(2 * own - 1), 0.0);
    EXPECT_GT(errors.values.at(3 * own - 2), 0.0);  // hidden states
  }
}

TEST(ScoreFormats, HaveErrorsOfTheTreesThatAreSampled) {
  const ScoreRun run;
  const GroupScores found =
      run.run(scored_windows(7, kLength),
              {{"fp16", {}, {}}, {"per-token", {Kind::kInt8OfToken, {}, {}}, {}}},
              {.first_tree = 10, .sample_from = 11, .sample_every = 3});
  std::vector<int64_t> trees;
  for (const TreeErrors& errors : found.errors) trees.push_back(errors.tree);
  EXPECT_EQ(trees, (std::vector<int64_t>{11, 14}));
}

TEST(ScoreFormats, ThatOverflowAreNamedWithTheLayer) {
  const ScoreRun run;
  const auto channels = static_cast<std::ptrdiff_t>(64);
  for (const bool is_key : {true, false}) {
    CacheFormat format = int8_of_steps(run.model(), 1 / 16.0F, 1 / 16.0F);
    ChannelScales& scales = is_key ? format.keys : format.values;
    std::fill_n(scales.scale.begin() + channels, channels, 1e9F);
    std::fill_n(scales.zero.begin() + channels, channels, 1e5F);  // above all of float16
    const std::string message = message_of([&] {
      run.run(scored_windows(kWindows, kLength), {{"fp16", {}, {}}, {"wide", format, {}}});
    });
    EXPECT_HOLDS("wide: layer 1: NaN or Inf in", message);
  }
}

TEST(ScoreFormats, OfSixteenBitsThatOverflowAreNamedWithTheLayer) {
  const ScoreRun run;
  const auto qkv = static_cast<int64_t>(LayerTensor::kQkv);
  fixture::write_elements(run.directory().path() / concat("1.", qkv), 64, 192,
                          [](int64_t, int64_t) { return uint16_t{0x7bff}; });  // 65504
  const std::string message = message_of([&] {
    run.run(scored_windows(kWindows, kLength),
            {{"bits", {}, {}}, {"per-token", {Kind::kInt8OfToken, {}, {}}, {}}});
  });
  EXPECT_HOLDS("bits: layer 1: NaN or Inf in", message);
}

}  // namespace
}  // namespace kvcalib
