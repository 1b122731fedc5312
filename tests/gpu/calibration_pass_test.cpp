// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/calibration_pass.h"

#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "calibrate/statistics/kv_scale.h"
#include "sharding/formats/turbomind_directory.h"
#include "sharding/ranks/make_communicator.h"
#include "sharding/streaming/device.h"
#include "sharding/streaming/layer_stream.h"
#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

using fixture::element_bits;
using fixture::TemporaryFolder;

Rotation plain_rotation(const ModelConfig& config) {
  return {frequencies_of(config.rope_theta, config.head_dim), 1.0, {}};
}
const at::Device kGpu(at::kCUDA, 0);

// A test that runs on the first GPU; skipped where there is none.
class GpuCalibrationPass : public ::testing::Test {
 protected:
  void SetUp() override {
    if (gpu_count() == 0) GTEST_SKIP() << "no GPU is visible";
  }
};

ModelConfig model_of(int64_t stored_ranks, int64_t kv_heads, bool bias) {
  ModelConfig model = fixture::small_model();
  model.head_dim = 128;
  model.hidden = 512;
  model.kv_heads = kv_heads;
  model.attention_bias = bias;
  model.stored_ranks = stored_ranks;
  return model;
}

KvStatistics calibrate(const std::filesystem::path& folder, const at::Device& device,
                       int64_t samples, int64_t length, int64_t micro_batch) {
  const TurboMindDirectory directory = TurboMindDirectory::open(folder);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < samples * length; ++i)
    ids.push_back(static_cast<int32_t>(i * i * 7 % directory.config().vocab));
  Rendezvous rendezvous({});
  const auto communicator = make_communicator({}, device, rendezvous);
  return CalibrationPass(directory,
                         {plain_rotation(directory.config()), samples, length, /*histograms=*/true},
                         {device, micro_batch, 3}, *communicator)
      .run(ids, {});
}

// The largest difference over layers [0, layers) in units of the widest range of its layer.
double difference(const std::vector<float>& a, const std::vector<float>& b, size_t channels,
                  size_t layers) {
  double worst = 0;
  for (size_t first = 0; first < layers * channels; first += channels) {
    double widest = 0, distance = 0;
    for (size_t i = first; i < first + channels; ++i) {
      widest = std::max(widest, std::abs(static_cast<double>(b[i])));
      distance = std::max(distance, std::abs(static_cast<double>(a[i]) - b[i]));
    }
    worst = std::max(worst, distance / widest);
  }
  return worst;
}

// The GPU computes in 16 bits, the CPU in float32.
void expect_near(const KvStatistics& gpu, const KvStatistics& cpu, size_t layers) {
  const auto channels = static_cast<size_t>(cpu.kv_heads * cpu.head_dim);
  EXPECT_LT(difference(gpu.keys.minimum, cpu.keys.minimum, channels, layers), 0.02);
  EXPECT_LT(difference(gpu.keys.maximum, cpu.keys.maximum, channels, layers), 0.02);
  EXPECT_LT(difference(gpu.values.minimum, cpu.values.minimum, channels, layers), 0.02);
  EXPECT_LT(difference(gpu.values.maximum, cpu.values.maximum, channels, layers), 0.02);
}

TEST_F(GpuCalibrationPass, FindsTheRangesThatTheCpuFindsInATrainedModel) {
  const std::filesystem::path weights = "configs/tiny-4m/weights";
  expect_near(calibrate(weights, kGpu, 8, 256, 0), calibrate(weights, at::kCPU, 8, 256, 0), 4);
}

TEST_F(GpuCalibrationPass, WeighsAsTheCpuDoes) {
  const std::filesystem::path weights = "configs/tiny-4m/weights";
  const ScaleMethod method = ScaleMethod::parse("importance");
  const std::vector<KvScale> gpu = compute_scales(calibrate(weights, kGpu, 8, 256, 0), 2, method);
  const std::vector<KvScale> cpu =
      compute_scales(calibrate(weights, at::kCPU, 8, 256, 0), 2, method);
  for (size_t i = 0; i < cpu.size(); ++i) {
    EXPECT_NEAR(gpu[i].k_scale, cpu[i].k_scale, 0.05 * cpu[i].k_scale) << i;
    EXPECT_NEAR(gpu[i].v_scale, cpu[i].v_scale, 0.05 * cpu[i].v_scale) << i;
  }
}

// Of random weights only the first layer: their attention is so sharp that 16 bits decide what the
// later ones see.
TEST_F(GpuCalibrationPass, FindsTheFirstLayersRangesWithGroupedHeadsAndBias) {
  const TemporaryFolder folder;
  fixture::write_weights(folder.path(), model_of(2, 2, true));
  expect_near(calibrate(folder.path(), kGpu, 4, 96, 0),
              calibrate(folder.path(), at::kCPU, 4, 96, 0), 1);
}

TEST_F(GpuCalibrationPass, GivesTheSameBitsHoweverTheModelIsCut) {
  std::vector<KvStatistics> all;
  for (const int64_t ranks : {1, 2, 4}) {
    const TemporaryFolder folder;
    fixture::write_weights(folder.path(), model_of(ranks, 4, false));
    all.push_back(calibrate(folder.path(), kGpu, 6, 64, 128));
  }
  for (const KvStatistics& other : all) {
    EXPECT_EQ(all[0].keys.minimum, other.keys.minimum);
    EXPECT_EQ(all[0].values.maximum, other.values.maximum);
  }
}

void expect_same(const KvStatistics& first, const KvStatistics& second) {
  EXPECT_EQ(first.keys.minimum, second.keys.minimum);
  EXPECT_EQ(first.keys.maximum, second.keys.maximum);
  EXPECT_EQ(first.values.minimum, second.values.minimum);
  EXPECT_EQ(first.values.maximum, second.values.maximum);
  EXPECT_EQ(first.key_histograms, second.key_histograms);
  EXPECT_EQ(first.value_histograms, second.value_histograms);
}

TEST_F(GpuCalibrationPass, RepeatsToTheBit) {
  const TemporaryFolder folder;
  fixture::write_weights(folder.path(), model_of(1, 2, true));
  expect_same(calibrate(folder.path(), kGpu, 5, 64, 128),
              calibrate(folder.path(), kGpu, 5, 64, 128));
}

TEST_F(GpuCalibrationPass, GivesTheSameBitsWithEveryMicroBatch) {
  const TemporaryFolder folder;
  fixture::write_weights(folder.path(), model_of(1, 2, true));
  for (const int64_t length : {64, 333}) {
    const KvStatistics one = calibrate(folder.path(), kGpu, 9, length, 1);
    for (const int64_t windows : {2, 4, 9})
      expect_same(one, calibrate(folder.path(), kGpu, 9, length, windows * length));
  }
}

TEST_F(GpuCalibrationPass, NamesTheLayerWhereActivationsOverflow) {
  const TemporaryFolder folder;
  const ModelConfig model = model_of(1, 4, false);
  fixture::write_weights(folder.path(), model);
  fixture::write_elements(folder.path() / "layers.1.attention.w_qkv.0.weight", 512, 1536,
                          [](int64_t, int64_t) { return uint16_t{0x7bff}; });
  EXPECT_HOLDS("layer 1: NaN or Inf in K",
               message_of([&] { calibrate(folder.path(), kGpu, 1, 32, 0); }));
}

TEST_F(GpuCalibrationPass, NamesTheFileThatHoldsInfinity) {
  const TemporaryFolder folder;
  fixture::write_weights(folder.path(), model_of(2, 4, false));
  fixture::write_elements(folder.path() / "layers.2.attention_norm.weight", 1, 512,
                          [](int64_t, int64_t) { return uint16_t{0x7c00}; });
  EXPECT_HOLDS("layers.2.attention_norm.weight: holds NaN or Inf",
               message_of([&] { calibrate(folder.path(), kGpu, 1, 32, 0); }));
}

TEST_F(GpuCalibrationPass, StreamsEveryElementToItsPlace) {
  const TemporaryFolder folder;
  const ModelConfig model = model_of(4, 4, true);
  fixture::write_weights(folder.path(), model);
  const TurboMindDirectory directory = TurboMindDirectory::open(folder.path());
  Rendezvous rendezvous({});
  const auto communicator = make_communicator({}, kGpu, rendezvous);
  const c10::InferenceMode inference;
  LayerStream stream({.config = model,
                      .plan = [&](int64_t layer) { return directory.layer_plan(layer); },
                      .device = kGpu,
                      .compute_type = at::kHalf},
                     *communicator);
  for (int64_t layer = 0; layer < model.layers; ++layer) {
    LayerWeights weights = stream.next();
    int64_t wrong = 0;
    for (int64_t i = 0; i < kLayerTensors; ++i) {
      const auto [rows, columns] = tensor_shape(model, static_cast<LayerTensor>(i));
      const auto tensor = static_cast<LayerTensor>(i);
      if (!has_tensor(model, tensor)) continue;
      const at::Tensor whole = weights.vector(tensor) != nullptr ? *weights.vector(tensor)
                                                                 : weights.matrix(tensor)->whole();
      const at::Tensor bits = whole.cpu().view(at::kShort);
      const auto* const found = bits.const_data_ptr<int16_t>();
      for (int64_t row = 0; row < rows; ++row)
        for (int64_t column = 0; column < columns; ++column)
          wrong += static_cast<uint16_t>(found[row * columns + column]) !=
                   element_bits(layer, i, row, column);
    }
    EXPECT_EQ(wrong, 0) << "layer " << layer;
  }
}

}  // namespace
}  // namespace kvcalib
