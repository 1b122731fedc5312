// SPDX-License-Identifier: Apache-2.0
#include "sharding/streaming/layer_stream.h"

#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "sharding/formats/turbomind_directory.h"
#include "sharding/ranks/lone_communicator.h"
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

LayerStream make_stream(const WeightDirectory& directory, Communicator& communicator,
                        at::ScalarType type = at::kFloat, int64_t first_layer = 0) {
  return {{.config = directory.config(),
           .plan = [&](int64_t layer) { return directory.layer_plan(layer); },
           .compute_type = type,
           .reading_threads = 3,
           .first_layer = first_layer},
          communicator};
}

// Counts the elements that are not what their place in the whole tensor says.
int64_t wrong_elements(const ModelConfig& config, int64_t layer, const LayerWeights& weights) {
  int64_t wrong = 0;
  LayerWeights copy = weights;
  for (int64_t i = 0; i < kLayerTensors; ++i) {
    const auto tensor = static_cast<LayerTensor>(i);
    const auto [rows, columns] = tensor_shape(config, tensor);
    at::Tensor whole;
    if (copy.vector(tensor) != nullptr) {
      whole = *copy.vector(tensor);
    } else {
      whole = at::empty({rows, columns}, at::kHalf);
      copy.matrix(tensor)->copy_columns(0, columns, whole);
    }
    if (!whole.defined()) continue;
    const at::Tensor bits = whole.to(at::kHalf).view({rows, columns}).view(at::kShort);
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t column = 0; column < columns; ++column)
        wrong += static_cast<uint16_t>(bits[row].const_data_ptr<int16_t>()[column]) !=
                 element_bits(layer, i, row, column);
  }
  return wrong;
}

TEST(LayerStream, RebuildsEveryTensorFromTheSlicesOfAllRanks) {
  for (const int64_t stored_ranks : {1, 2, 4}) {
    const TemporaryFolder folder;
    ModelConfig model = small_model();
    model.stored_ranks = stored_ranks;
    model.attention_bias = stored_ranks != 2;
    fixture::write_weights(folder.path(), model);
    const TurboMindDirectory directory = TurboMindDirectory::open(folder.path());
    LoneCommunicator alone;
    const c10::InferenceMode inference;
    LayerStream stream = make_stream(directory, alone);
    for (int64_t layer = 0; layer < model.layers; ++layer)
      EXPECT_EQ(wrong_elements(model, layer, stream.next()), 0)
          << stored_ranks << " stored ranks, layer " << layer;
    EXPECT_GT(stream.cost().bytes_read, 0U);
  }
}

TEST(LayerStream, RebuildsTensorsThatAreStoredTransposedInHalvesAndInFloat32) {
  for (const bool bias : {false, true}) {
    const TemporaryFolder folder;
    ModelConfig model = small_model();
    model.hidden = 48;
    model.kv_heads = 2;
    model.attention_bias = bias;
    model.query_key_norm = true;
    const PlainDirectory directory(folder.path(), model, PlainDirectory::Order::kHuggingFace);
    LoneCommunicator alone;
    const c10::InferenceMode inference;
    LayerStream stream = make_stream(directory, alone);
    for (int64_t layer = 0; layer < model.layers; ++layer) {
      const LayerWeights& weights = stream.next();
      EXPECT_EQ(wrong_elements(model, layer, weights), 0) << "layer " << layer;
      EXPECT_EQ(weights.qkv_bias.defined(), bias);
      EXPECT_TRUE(weights.query_norm.defined() && weights.key_norm.defined());
    }
  }
}

// The first layer takes half the memory of the next.
TEST(LayerStream, HoldsTheLargestOfLayersThatAreStoredInDifferentTypes) {
  const TemporaryFolder halves, floats;
  const ModelConfig model = small_model();
  const PlainDirectory narrow(halves.path(), model, PlainDirectory::Order::kEngine);
  const PlainDirectory wide(floats.path(), model, PlainDirectory::Order::kHuggingFace);
  ASSERT_LT(narrow.layer_plan(0).image_bytes, wide.layer_plan(1).image_bytes);
  LoneCommunicator alone;
  const c10::InferenceMode inference;
  const auto plan = [&](int64_t layer) { return (layer % 2 ? wide : narrow).layer_plan(layer); };
  LayerStream stream({.config = model, .plan = plan}, alone);
  for (int64_t layer = 0; layer < model.layers; ++layer)
    EXPECT_EQ(wrong_elements(model, layer, stream.next()), 0) << "layer " << layer;
}

TEST(LayerStream, GivesEveryRankTheWholeLayerAndReadsEachByteOnce) {
  const TemporaryFolder folder;
  ModelConfig model = small_model();
  model.stored_ranks = 2;
  fixture::write_weights(folder.path(), model);
  const TurboMindDirectory directory = TurboMindDirectory::open(folder.path());
  uint64_t layer_bytes = 0;
  for (const FileRange& range : directory.layer_plan(0).ranges) layer_bytes += range.bytes;
  const auto layers = static_cast<uint64_t>(model.layers);
  for (const int64_t world : {2, 3, 4}) {
    std::atomic<int64_t> wrong{0};
    std::atomic<uint64_t> bytes{0};
    run_rank_threads(world, [&](const Rank& rank, Rendezvous& rendezvous) {
      const c10::InferenceMode inference;
      const auto communicator = make_communicator(rank, at::kCPU, rendezvous);
      LayerStream stream = make_stream(directory, *communicator);
      for (int64_t layer = 0; layer < model.layers; ++layer)
        wrong += wrong_elements(model, layer, stream.next());
      const ReadingCost cost = stream.cost();
      bytes += cost.bytes_read;
      // With padding to equal shares; the time of gathering is known when it is over.
      EXPECT_GE(cost.bytes_gathered + cost.bytes_read, layer_bytes * layers);
      EXPECT_GT(cost.gather_seconds, 0);
    });
    EXPECT_EQ(wrong, 0) << world << " ranks";
    EXPECT_EQ(bytes, layer_bytes * layers) << world << " ranks";
  }
}

TEST(LayerStream, HandsOutTheWeightsOwnTypeUnchanged) {
  const TemporaryFolder folder;
  fixture::write_weights(folder.path(), small_model());
  const TurboMindDirectory directory = TurboMindDirectory::open(folder.path());
  LoneCommunicator alone;
  const c10::InferenceMode inference;
  LayerStream stream = make_stream(directory, alone, at::kHalf);
  EXPECT_EQ(wrong_elements(directory.config(), 0, stream.next()), 0);
}

TEST(LayerStream, BeginsAtAnyLayerAndReadsNoneBefore) {
  const TemporaryFolder folder;
  const ModelConfig model = small_model();
  const PlainDirectory directory(folder.path(), model, PlainDirectory::Order::kEngine);
  const c10::InferenceMode inference;
  LoneCommunicator alone;
  for (int64_t first = 0; first < model.layers; ++first) {
    uint64_t bytes = 0;
    LayerStream stream = make_stream(directory, alone, at::kFloat, first);
    for (int64_t layer = first; layer < model.layers; ++layer) {
      EXPECT_EQ(wrong_elements(model, layer, stream.next()), 0) << "layer " << layer;
      for (const FileRange& range : directory.layer_plan(layer).ranges) bytes += range.bytes;
    }
    EXPECT_EQ(stream.cost().bytes_read, bytes);
  }
  EXPECT_THROW(make_stream(directory, alone, at::kFloat, model.layers), c10::Error);
}

TEST(LayerStream, NamesTheFileThatHoldsNan) {
  const TemporaryFolder folder;
  fixture::write_weights(folder.path(), small_model());
  {
    std::fstream file(folder.path() / "layers.1.attention.wo.0.weight",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file.write("\x00\x7e", 2);
  }
  const TurboMindDirectory directory = TurboMindDirectory::open(folder.path());
  LoneCommunicator alone;
  const c10::InferenceMode inference;
  LayerStream stream = make_stream(directory, alone);
  stream.next();
  EXPECT_HOLDS("layers.1.attention.wo.0.weight: holds NaN or Inf",
               message_of([&] { stream.next(); }));
}

TEST(LayerStream, NamesAFileThatShrankAfterItWasOpened) {
  const TemporaryFolder folder;
  fixture::write_weights(folder.path(), small_model());
  const TurboMindDirectory directory = TurboMindDirectory::open(folder.path());
  std::filesystem::resize_file(folder.path() / "layers.2.feed_forward.w2.0.weight", 10);
  LoneCommunicator alone;
  const c10::InferenceMode inference;
  LayerStream stream = make_stream(directory, alone);
  stream.next();
  stream.next();
  EXPECT_HOLDS("layers.2.feed_forward.w2.0.weight: ends at byte 10",
               message_of([&] { stream.next(); }));
}

TEST(LayerStream, CanBeLeftBeforeTheLastLayer) {
  const TemporaryFolder folder;
  fixture::write_weights(folder.path(), small_model());
  const TurboMindDirectory directory = TurboMindDirectory::open(folder.path());
  LoneCommunicator alone;
  const c10::InferenceMode inference;
  LayerStream stream = make_stream(directory, alone);
  EXPECT_TRUE(stream.next().qkv.columns() > 0);
}

TEST(CutImage, CoversEveryByteOfTheFilesExactlyOnce) {
  const TemporaryFolder folder;
  fixture::write_weights(folder.path(), small_model());
  const LayerPlan plan = TurboMindDirectory::open(folder.path()).layer_plan(0);
  std::vector<int> covered(plan.image_bytes, 0);
  for (const auto& [first, last] : std::vector<std::pair<uint64_t, uint64_t>>{
           {0, 5000}, {5000, 5002}, {5002, 40000}, {40000, plan.image_bytes}}) {
    for (const ImagePiece& piece : cut_image(plan, first, last, 1000)) {
      EXPECT_LE(piece.bytes, 1000U);
      for (uint64_t i = 0; i < piece.bytes; ++i) ++covered[piece.image_offset + i];
    }
  }
  uint64_t once = 0, files = 0;
  for (const int count : covered) {
    EXPECT_LE(count, 1);
    once += static_cast<uint64_t>(count);
  }
  for (const FileRange& range : plan.ranges) files += range.bytes;
  EXPECT_EQ(once, files);
}

}  // namespace
}  // namespace kvcalib
