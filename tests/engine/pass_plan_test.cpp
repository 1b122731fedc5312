// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/pass_plan.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>

#include "calibrate/engine/decoder_layer.h"
#include "sharding/formats/turbomind_directory.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

using fixture::small_model;

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

// Heads of any width, norms of q and k.
ModelConfig other_model() {
  ModelConfig model = small_model();
  model.hidden = 40;
  model.query_key_norm = true;
  return model;
}

MemoryPlan plan(const ModelConfig& model, int64_t samples, int64_t length, int64_t ranks,
                int64_t micro_batch) {
  return plan_memory(model, stored_layer_bytes(model), samples, length, ranks,
                     {at::kCPU, micro_batch, 1});
}

TEST(StoredLayerBytes, AreThoseOfTheLayersFilesWithOrWithoutThem) {
  const fixture::TemporaryFolder folder;
  fixture::write_weights(folder.path(), small_model());
  uint64_t bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder.path()))
    if (file.path().filename().string().starts_with("layers.0.")) bytes += file.file_size();
  EXPECT_EQ(stored_layer_bytes(TurboMindDirectory::open(folder.path())), bytes);
  EXPECT_EQ(stored_layer_bytes(small_model()), bytes);
}

TEST(PlanMemory, HoldsTwoLayers) {
  for (const ModelConfig& model : {small_model(), other_model()})
    EXPECT_EQ(plan(model, 8, 32, 2, 32).layers, 2 * stored_layer_bytes(model));
}

TEST(PlanMemory, HoldsTheHiddenStatesOfARanksWindows) {
  for (const ModelConfig& model : {small_model(), other_model()}) {
    const uint64_t window = 32 * static_cast<uint64_t>(model.hidden) * sizeof(float);
    for (const int64_t ranks : {1, 2, 3, 8}) {
      const uint64_t held = plan(model, 8, 32, ranks, 32).activations;
      EXPECT_EQ(held % window, 0U);
      EXPECT_GE(held * static_cast<uint64_t>(ranks), 8 * window);
      EXPECT_LT((held - window) * static_cast<uint64_t>(ranks), 8 * window);
    }
  }
}

// What a micro-batch has beside the tensors of its tokens does not grow with their number.
TEST(PlanMemory, HoldsAWorkspaceAndWhatWasAttendedTo) {
  for (const ModelConfig& model : {small_model(), other_model()}) {
    const auto beside = [&](int64_t windows) {
      const LayerWorkspace workspace(model, windows * 32, at::kFloat);
      uint64_t bytes = static_cast<uint64_t>(windows * 32 * model.heads * model.head_dim) * 4;
      for (const at::Tensor& tensor : {workspace.normed, workspace.qkv, workspace.projected,
                                       workspace.gate_up, workspace.activated})
        bytes += tensor.nbytes();
      return plan(model, 64, 32, 1, windows * 32).micro_batch - bytes;
    };
    EXPECT_GT(beside(1), 0U);
    EXPECT_EQ(beside(2), beside(1));
    EXPECT_EQ(beside(64), beside(1));
  }
}

TEST(PlanMemory, DoesNotGrowWithWindowsThatWaitButForTheirHiddenStates) {
  EXPECT_EQ(plan(small_model(), 8, 32, 1, 64).micro_batch,
            plan(small_model(), 800, 32, 1, 64).micro_batch);
  EXPECT_EQ(plan(small_model(), 8, 32, 1, 64).layers, plan(small_model(), 800, 32, 1, 64).layers);
}

// Attention keeps two numbers a query on every thread.
TEST(PlanMemory, CountsWhatAttentionHoldsOfLongWindows) {
  const int64_t length = 1 << 20;
  const auto threads = static_cast<uint64_t>(at::get_num_threads());
  const uint64_t one = plan(small_model(), 1, length, 1, 0).micro_batch;
  const uint64_t two = plan(small_model(), 2, length, 1, 2 * length).micro_batch;
  const uint64_t longer = plan(small_model(), 1, 2 * length, 1, 0).micro_batch;
  EXPECT_GT(two, one);
  EXPECT_EQ(longer - two, threads * 2 * sizeof(float) * length);
}

TEST(PlanMemory, IsTheMostThereIsWhereItWouldNotFitANumber) {
  ModelConfig model = small_model();
  model.hidden = model.intermediate = int64_t{1} << 30;
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
  const int64_t samples = int64_t{1} << 32;
  const MemoryPlan found = plan_memory(model, 1, samples, 1, 1, {at::kCPU, samples, 1});
  EXPECT_EQ(found.activations, kMost);
  EXPECT_EQ(found.micro_batch, kMost);
  EXPECT_EQ(found.total(), kMost);
  EXPECT_EQ(plan_host_memory(found, at::kCPU, samples, 1, 2).total(), kMost);
}

TEST(PlanHostMemory, HoldsWhatEveryRankNeedsOnCpusAndTheIdsAnywhere) {
  const MemoryPlan rank = plan(small_model(), 8, 32, 2, 32);
  const HostMemoryPlan two = plan_host_memory(rank, at::kCPU, 8, 32, 2);
  const uint64_t table = 8 * 32 * sizeof(int32_t);
  EXPECT_EQ(two.total(), 2 * rank.total() + two.ids);
  EXPECT_GE(two.ids, 2 * table);
  EXPECT_GE(plan_host_memory(rank, at::kCPU, 8, 32, 1).ids, table);
  EXPECT_EQ(plan_host_memory(rank, at::kCUDA, 8, 32, 2).total(), two.ids);
}

}  // namespace
}  // namespace kvcalib
