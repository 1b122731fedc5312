// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/calibration_pass.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <mutex>

#include "calibrate/engine/embedding.h"
#include "sharding/formats/turbomind_directory.h"
#include "sharding/ranks/make_communicator.h"
#include "tests/message_of.h"
#include "tests/ranks/rank_threads.h"
#include "tests/streaming/plain_directory.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

using fixture::element_bits;
using fixture::small_model;
using fixture::TemporaryFolder;

std::vector<int32_t> some_ids(int64_t count, int64_t vocab) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(i * i * 7 % vocab));
  return ids;
}

Rotation plain_rotation(const ModelConfig& config) {
  return {frequencies_of(config.rope_theta, config.head_dim), 1.0, {}};
}

KvStatistics calibrate(const WeightDirectory& directory, int64_t samples, int64_t length,
                       int64_t micro_batch) {
  const std::vector<int32_t> ids = some_ids(samples * length, directory.config().vocab);
  Rendezvous rendezvous({});
  const auto communicator = make_communicator({}, at::kCPU, rendezvous);
  return run_calibration_pass(directory, plain_rotation(directory.config()), {ids, samples, length},
                              *communicator, {at::kCPU, micro_batch, 2}, {});
}

KvStatistics calibrate(const std::filesystem::path& folder, int64_t samples, int64_t length,
                       int64_t micro_batch) {
  return calibrate(TurboMindDirectory::open(folder), samples, length, micro_batch);
}

bool same(const KvStatistics& a, const KvStatistics& b) {
  return a.keys == b.keys && a.values == b.values;
}

at::Tensor whole_tensor(const ModelConfig& config, int64_t layer, LayerTensor tensor) {
  const auto [rows, columns] = tensor_shape(config, tensor);
  const at::Tensor bits = at::empty({rows, columns}, at::kShort);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      bits[i].data_ptr<int16_t>()[j] =
          static_cast<int16_t>(element_bits(layer, static_cast<int64_t>(tensor), i, j));
  return bits.view(at::kHalf).to(at::kDouble);
}

at::Tensor normed(const at::Tensor& x, const at::Tensor& weight) {
  return x / (x.square().mean(-1, true) + 1e-5).sqrt() * weight;
}

at::Tensor rotated(const at::Tensor& x) {  // [length, heads, head_dim], interleaved pairs
  const int64_t length = x.size(0), head_dim = x.size(2);
  const at::Tensor exponent =
      at::arange(0, head_dim, 2, at::kDouble) / -static_cast<double>(head_dim);
  const at::Tensor angle = at::outer(at::arange(length, at::kDouble), at::pow(10000.0, exponent));
  const at::Tensor c = angle.cos().unsqueeze(1), s = angle.sin().unsqueeze(1);
  const at::Tensor even = x.slice(2, 0, head_dim, 2), odd = x.slice(2, 1, head_dim, 2);
  return at::stack({c * even - s * odd, c * odd + s * even}, -1).flatten(2);
}

// The decoder written plainly, in double: K and V of every layer for one window, [layers] of
// [length, kv_heads, head_dim].
std::pair<std::vector<at::Tensor>, std::vector<at::Tensor>> plain_forward(const ModelConfig& config,
                                                                          at::Tensor x) {
  std::vector<at::Tensor> keys, values;
  const int64_t length = x.size(0), d = config.head_dim, group = config.heads / config.kv_heads;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const auto w = [&](LayerTensor tensor) { return whole_tensor(config, layer, tensor); };
    at::Tensor qkv = at::mm(normed(x, w(LayerTensor::kAttentionNorm)), w(LayerTensor::kQkv));
    if (config.attention_bias) qkv = qkv + w(LayerTensor::kQkvBias);
    const at::Tensor parts = qkv.view({length, -1, d});
    at::Tensor q = parts.narrow(1, 0, config.heads);
    at::Tensor k = parts.narrow(1, config.heads, config.kv_heads);
    if (config.query_key_norm) {
      q = normed(q, w(LayerTensor::kQueryNorm));
      k = normed(k, w(LayerTensor::kKeyNorm));
    }
    q = rotated(q);
    k = rotated(k);
    const at::Tensor v = parts.narrow(1, config.heads + config.kv_heads, config.kv_heads);
    keys.push_back(k);
    values.push_back(v);
    const at::Tensor scores = at::einsum("ihd,jhd->hij", {q, k.repeat_interleave(group, 1)}) /
                              std::sqrt(static_cast<double>(d));
    at::Tensor unseen = at::ones({length, length}, at::kBool).triu(1);
    if (config.sliding_window > 0)
      unseen =
          unseen.logical_or(at::ones({length, length}, at::kBool).tril(-config.sliding_window));
    const at::Tensor attended =
        at::einsum("hij,jhd->ihd",
                   {scores.masked_fill(unseen, -1e300).softmax(-1), v.repeat_interleave(group, 1)})
            .reshape({length, -1});
    x = x + at::mm(attended, w(LayerTensor::kOutput));
    if (config.attention_bias) x = x + w(LayerTensor::kOutputBias);
    const at::Tensor gate_up = at::mm(normed(x, w(LayerTensor::kFfnNorm)), w(LayerTensor::kGateUp));
    const at::Tensor gate = gate_up.narrow(1, 0, config.intermediate);
    const at::Tensor up = gate_up.narrow(1, config.intermediate, config.intermediate);
    x = x + at::mm(gate * gate.sigmoid() * up, w(LayerTensor::kDown));
  }
  return {keys, values};
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
  const auto [keys, values] = plain_forward(model, hidden);
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
  wide.hidden = 48;
  wide.head_dim = 20;
  wide.kv_heads = 2;
  normed.query_key_norm = true;
  sliding.sliding_window = 9;
  ModelConfig all = wide;
  all.query_key_norm = true;
  all.sliding_window = 5;
  return {wide, normed, sliding, all};
}

TEST(CalibrationPass, FindsTheRangesOfModelsOfOtherFamilies) {
  for (const ModelConfig& model : other_models()) {
    SCOPED_TRACE(::testing::Message()
                 << "hidden " << model.hidden << ", norm " << model.query_key_norm
                 << ", sliding window " << model.sliding_window);
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
          run_calibration_pass(directory, plain_rotation(directory.config()),
                               {ids, samples, length}, *communicator, {at::kCPU, length, 1}, {});
      const std::lock_guard lock(mutex);
      equal += same(found, alone) ? 1 : 0;
    });
    EXPECT_EQ(equal, world);
  }
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

TEST(WindowsOfRank, GiveEveryWindowToExactlyOneRankInWholeMicroBatches) {
  for (const int64_t samples : {1, 5, 16, 128}) {
    for (const int64_t batch : {1, 3, 8}) {
      for (const int64_t ranks : {1, 2, 3, 4, 8}) {
        int64_t next = 0;
        for (int64_t rank = 0; rank < ranks; ++rank) {
          const auto [first, last] = windows_of_rank(samples, batch, rank, ranks);
          EXPECT_EQ(first, next);
          EXPECT_TRUE(first % batch == 0 || first == samples);
          next = last;
        }
        EXPECT_EQ(next, samples);
      }
    }
  }
}

TEST(PlanMemory, HoldsTwoLayersTheRanksActivationsAndOneMicroBatch) {
  ModelConfig model = small_model();
  const uint64_t layer = 64 * 192 + 64 * 64 + 64 * 2 + 64 * 192 + 96 * 64;
  const MemoryPlan plan =
      plan_memory(model, stored_layer_bytes(model), 8, 32, 2, {at::kCPU, 32, 1});
  EXPECT_EQ(plan.layers, layer * 2 * 2);
  EXPECT_EQ(plan.activations, 4U * 32 * 64 * 4);
  const auto threads = static_cast<uint64_t>(at::get_num_threads());
  EXPECT_EQ(plan.micro_batch, 32U * (3 * 64 + 192 + 3 * 96) * 4 + threads * (96 + 96) * 512 * 4);
}

TEST(PlanMemory, CountsWhatAttentionHoldsOfLongWindows) {
  const ModelConfig model = small_model();
  const auto micro_batch = [&](int64_t length) {
    return plan_memory(model, stored_layer_bytes(model), 1, length, 1, {at::kCPU, 0, 1})
        .micro_batch;
  };
  const auto threads = static_cast<uint64_t>(at::get_num_threads());
  const uint64_t token = (3 * 64 + 192 + 3 * 96) * 4;
  const int64_t length = 1 << 20;
  EXPECT_EQ(micro_batch(2 * length) - micro_batch(length), length * (token + threads * 2 * 4));
}

TEST(PlanMemory, CountsHeadsOfAnyWidthAndNorms) {
  ModelConfig model = small_model();
  model.hidden = 40;
  model.query_key_norm = true;
  const uint64_t layer = 40 * 192 + 64 * 40 + 40 * 2 + 16 * 2 + 40 * 192 + 96 * 40;
  const MemoryPlan plan =
      plan_memory(model, stored_layer_bytes(model), 8, 32, 2, {at::kCPU, 32, 1});
  EXPECT_EQ(plan.layers, layer * 2 * 2);
  EXPECT_EQ(plan.activations, 4U * 32 * 40 * 4);
  const auto threads = static_cast<uint64_t>(at::get_num_threads());
  EXPECT_EQ(plan.micro_batch,
            32U * (2 * 40 + 64 + 192 + 3 * 96) * 4 + threads * (96 + 96) * 512 * 4);
}

}  // namespace
}  // namespace kvcalib
