// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/calibration_pass.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <mutex>
#include <numeric>

#include "calibrate/engine/embedding.h"
#include "sharding/formats/turbomind_directory.h"
#include "sharding/ranks/make_communicator.h"
#include "tests/engine/plain_forward.h"
#include "tests/message_of.h"
#include "tests/ranks/rank_threads.h"
#include "tests/streaming/plain_directory.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

using fixture::small_model;
using fixture::TemporaryFolder;

KvStatistics calibrate(const WeightDirectory& directory, int64_t samples, int64_t length,
                       int64_t micro_batch) {
  const std::vector<int32_t> ids = some_ids(samples * length, directory.config().vocab);
  Rendezvous rendezvous({});
  const auto communicator = make_communicator({}, at::kCPU, rendezvous);
  return CalibrationPass(directory,
                         {plain_rotation(directory.config()), samples, length, /*histograms=*/true},
                         {at::kCPU, micro_batch, 2}, *communicator)
      .run(ids, {});
}

KvStatistics calibrate(const std::filesystem::path& folder, int64_t samples, int64_t length,
                       int64_t micro_batch) {
  return calibrate(TurboMindDirectory::open(folder), samples, length, micro_batch);
}

bool same(const KvStatistics& a, const KvStatistics& b) {
  return a.keys == b.keys && a.values == b.values && a.key_histograms == b.key_histograms &&
         a.value_histograms == b.value_histograms;
}

void expect_close(const std::vector<float>& found, int64_t layer, const at::Tensor& expected) {
  const at::Tensor flat = expected.flatten();
  const auto first = static_cast<size_t>(layer * flat.numel());
  const double scale = flat.abs().max().item<double>();
  for (int64_t i = 0; i < flat.numel(); ++i)
    EXPECT_NEAR(found[first + static_cast<size_t>(i)], flat[i].item<double>(), 1e-5 * scale)
        << "layer " << layer << " channel " << i;
}

void expect_plain_ranges(const WeightDirectory& directory, int64_t length) {
  const ModelConfig& model = directory.config();
  const KvStatistics found = calibrate(directory, 1, length, 0);
  const at::Tensor hidden = at::empty({length, model.hidden}, at::kDouble);
  embed_tokens(directory, some_ids(length, model.vocab), hidden);
  const auto [keys, values, output] = plain_forward(model, hidden);
  for (int64_t layer = 0; layer < model.layers; ++layer) {
    const auto index = static_cast<size_t>(layer);
    expect_close(found.keys.minimum, layer, keys[index].amin(0));
    expect_close(found.keys.maximum, layer, keys[index].amax(0));
    expect_close(found.values.minimum, layer, values[index].amin(0));
    expect_close(found.values.maximum, layer, values[index].amax(0));
  }
}

TEST(CalibrationPass, FindsTheRangesThatAPlainForwardPassInDoubleHas) {
  for (const int64_t kv_heads : {4, 2}) {
    const TemporaryFolder folder;
    ModelConfig model = small_model();
    model.kv_heads = kv_heads;
    model.attention_bias = kv_heads == 2;
    fixture::write_weights(folder.path(), model);
    expect_plain_ranges(TurboMindDirectory::open(folder.path()), 33);
  }
}

// What other families have, in turn and together.
std::vector<ModelConfig> other_models() {
  ModelConfig wide = small_model(), normed = small_model(), sliding = small_model();
  ModelConfig biased = small_model();
  wide.hidden = 48;
  wide.head_dim = 20;
  wide.kv_heads = 2;
  normed.query_key_norm = true;
  sliding.sliding_window = 9;
  biased.mlp_bias = true;
  ModelConfig all = wide;
  all.mlp_bias = true;
  all.query_key_norm = true;
  all.sliding_window = 5;
  return {wide, normed, sliding, biased, all};
}

TEST(CalibrationPass, FindsTheRangesOfModelsOfOtherFamilies) {
  for (const ModelConfig& model : other_models()) {
    SCOPED_TRACE(::testing::Message()
                 << "hidden " << model.hidden << ", norm " << model.query_key_norm
                 << ", sliding window " << model.sliding_window << ", bias of the MLP "
                 << model.mlp_bias);
    const TemporaryFolder folder;
    expect_plain_ranges(PlainDirectory(folder.path(), model, PlainDirectory::Order::kEngine), 33);
  }
}

TEST(CalibrationPass, GivesTheSameBitsHoweverTheModelIsStored) {
  for (const ModelConfig& model : other_models()) {
    const TemporaryFolder plain, other;
    const KvStatistics found =
        calibrate(PlainDirectory(plain.path(), model, PlainDirectory::Order::kEngine), 3, 20, 0);
    EXPECT_TRUE(same(
        found, calibrate(PlainDirectory(other.path(), model, PlainDirectory::Order::kHuggingFace),
                         3, 20, 20)));
  }
}

TEST(CalibrationPass, RefusesABiasBeforeTheNormOfQAndK) {
  const TemporaryFolder folder;
  ModelConfig model = small_model();
  model.attention_bias = true;
  model.query_key_norm = true;
  const PlainDirectory directory(folder.path(), model, PlainDirectory::Order::kEngine);
  EXPECT_THROW(calibrate(directory, 1, 8, 0), c10::Error);
}

TEST(CalibrationPass, FindsTheSameRangesWithHistogramsAndWithout) {
  for (const ModelConfig& model : other_models()) {
    const TemporaryFolder folder;
    const PlainDirectory directory(folder.path(), model, PlainDirectory::Order::kEngine);
    const KvStatistics with = calibrate(directory, 3, 20, 40);
    Rendezvous rendezvous({});
    const auto communicator = make_communicator({}, at::kCPU, rendezvous);
    const KvStatistics without =
        CalibrationPass(directory, {plain_rotation(model), 3, 20}, {at::kCPU, 40, 2}, *communicator)
            .run(some_ids(3 * 20, model.vocab), {});
    EXPECT_EQ(with.keys, without.keys);
    EXPECT_EQ(with.values, without.values);
    EXPECT_TRUE(without.key_histograms.empty());
  }
}

// The last layer's, too, whose queries nobody else asks for.
TEST(CalibrationPass, CountsEveryValueOfEveryLayer) {
  const TemporaryFolder folder;
  const ModelConfig model = small_model();
  const KvStatistics found =
      calibrate(PlainDirectory(folder.path(), model, PlainDirectory::Order::kEngine), 3, 20, 40);
  for (const KvTensor& tensor : kKvTensors) {
    const TensorHistograms& histograms = found.*tensor.histograms;
    for (size_t head = 0; head < static_cast<size_t>(model.layers * model.kv_heads); ++head) {
      const HeadHistograms own = histograms.heads(head, 1);
      EXPECT_EQ(std::accumulate(own.counts.begin(), own.counts.end(), 0.0),
                static_cast<double>(3 * 20 * model.head_dim));
    }
    for (size_t layer = 0; layer < static_cast<size_t>(model.layers); ++layer) {
      const auto heads = static_cast<size_t>(model.kv_heads);
      const HeadHistograms own = histograms.heads(layer * heads, heads);
      EXPECT_NEAR(std::accumulate(own.importance.begin(), own.importance.end(), 0.0) / 0x1p52, 3,
                  1e-4);
    }
  }
}

TEST(CalibrationPass, GivesTheSameBitsForEveryMicroBatch) {
  const TemporaryFolder folder;
  fixture::write_weights(folder.path(), small_model());
  const KvStatistics alone = calibrate(folder.path(), 7, 24, 1);
  EXPECT_TRUE(same(alone, calibrate(folder.path(), 7, 24, 48)));
  EXPECT_TRUE(same(alone, calibrate(folder.path(), 7, 24, 100000)));
}

TEST(CalibrationPass, GivesTheSameBitsHoweverTheModelIsCut) {
  std::vector<KvStatistics> all;
  for (const int64_t ranks : {1, 2, 4}) {
    const TemporaryFolder folder;
    ModelConfig model = small_model();
    model.stored_ranks = ranks;
    fixture::write_weights(folder.path(), model);
    all.push_back(calibrate(folder.path(), 3, 20, 0));
  }
  EXPECT_TRUE(same(all[0], all[1]));
  EXPECT_TRUE(same(all[0], all[2]));
}

TEST(CalibrationPass, GivesTheSameBitsOnEveryNumberOfRanks) {
  const TemporaryFolder folder;
  fixture::write_weights(folder.path(), small_model());
  const TurboMindDirectory directory = TurboMindDirectory::open(folder.path());
  const int64_t samples = 5, length = 16;
  const std::vector<int32_t> ids = some_ids(samples * length, directory.config().vocab);
  const KvStatistics alone = calibrate(folder.path(), samples, length, length);
  for (const int64_t world : {2, 4, 6}) {  // six: one rank has no window
    std::mutex mutex;
    int64_t equal = 0;
    run_rank_threads(world, [&](const Rank& rank, Rendezvous& rendezvous) {
      const auto communicator = make_communicator(rank, at::kCPU, rendezvous);
      const KvStatistics found =
          CalibrationPass(directory, {plain_rotation(directory.config()), samples, length, true},
                          {at::kCPU, length, 1}, *communicator)
              .run(ids, {});
      const std::lock_guard lock(mutex);
      equal += same(found, alone) ? 1 : 0;
    });
    EXPECT_EQ(equal, world);
  }
}

TEST(CalibrationPass, TellsOfEveryLayerOnceTheDeviceIsThroughWithIt) {
  const TemporaryFolder folder;
  const PlainDirectory directory(folder.path(), small_model(), PlainDirectory::Order::kEngine);
  Rendezvous rendezvous({});
  const auto communicator = make_communicator({}, at::kCPU, rendezvous);
  std::vector<int64_t> told;
  CalibrationPass(directory, {plain_rotation(directory.config()), 2, 24}, {}, *communicator)
      .run(some_ids(2 * 24, directory.config().vocab), [&](const PassProgress& progress) {
        told.push_back(progress.layers_done);
        EXPECT_EQ(progress.layers, 3);
        EXPECT_EQ(progress.tokens, 2 * 24);
      });
  EXPECT_EQ(told, (std::vector<int64_t>{1, 2, 3}));
}

TEST(CalibrationPass, StopsAndNamesTheLayerWhereActivationsOverflow) {
  const TemporaryFolder folder;
  const ModelConfig model = small_model();
  fixture::write_weights(folder.path(), model);
  // As bfloat16 these bits are 1.7e38: K overflows even float32.
  std::string config = fixture::config_text(model);
  config.replace(config.find("fp16"), 4, "bf16");
  fixture::write_file(folder.path() / "config.ini", config);
  fixture::write_elements(folder.path() / "layers.1.attention.w_qkv.0.weight", 64, 192,
                          [](int64_t, int64_t) { return uint16_t{0x7f00}; });
  fixture::write_elements(folder.path() / "layers.1.attention_norm.weight", 1, 64,
                          [](int64_t, int64_t) { return uint16_t{0x7f00}; });
  const std::string message = message_of([&] { calibrate(folder.path(), 1, 8, 0); });
  EXPECT_HOLDS("layer 1: NaN or Inf in K", message);
}

}  // namespace
}  // namespace kvcalib
