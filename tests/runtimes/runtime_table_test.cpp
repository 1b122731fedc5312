// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/runtime_table.h"

#include <gtest/gtest.h>

#include "tests/message_of.h"
#include "tests/output/output_folder.h"
#include "tests/runtimes/model_directory.h"

namespace kvcalib {
namespace {

using namespace fixture;

TEST(Runtimes, AreFoundByName) {
  EXPECT_EQ(find_runtime(kTurboMind).name, kTurboMind);
  EXPECT_EQ(message_of([] { find_runtime("abacus"); }),
            "abacus: no runtime that kvcalib makes scales for; known are turbomind");
}

TEST(Runtimes, OpenAReleaseOfThemselves) {
  const auto runtime = find_runtime(kTurboMind).open("0.2.6");
  EXPECT_EQ(runtime->release(), "v0.2.6");
  EXPECT_EQ(runtime->title(), "TurboMind v0.2.6");
  EXPECT_HOLDS("known are v0.0.2", message_of([] { find_runtime(kTurboMind).open("0.2.7"); }));
}

TEST(Runtimes, ReadTheScalesOfADirectoryBack) {
  const OutputFolder folder;
  const std::vector<KvScale> scales{{0.1f, 0.2f, 0.3f, 0.4f}, {0.5f, 0.6f, 0.7f, 0.8f}};
  const ModelDirectory model("/model", model_of_heads_128());
  const StatisticsFile statistics{KvStatistics(1, 2, 128), {}};
  for (const OutputFile& file : RuntimeChoice{}.open()->files({model, statistics, scales, 2}))
    put(folder.path(), {{file.name, file.bytes}});
  const StoredScales found = RuntimeChoice{}.row().read_scales(folder.path());
  EXPECT_EQ(found.layers, 1);
  EXPECT_EQ(found.ranks, 2);
  EXPECT_EQ(found.scales, scales);
}

TEST(Delivery, ConsistsOfTheRuntimesFilesStatisticsAndSummary) {
  const OutputNames names = delivery_names(find_runtime(kTurboMind));
  for (const char* name : {"config.ini", "config.patch", "kv_stats.safetensors", "summary.json",
                           "layers.12.past_kv_scale.7.weight"})
    EXPECT_TRUE(names.is_ours(name)) << name;
  for (const char* name : {"norm.weight", "config.ini.backup", "layers.0.past_kv_scale.weight",
                           "layers.0.attention.wo.0.weight", ""})
    EXPECT_FALSE(names.is_ours(name)) << name;
}

TEST(Runtimes, SayHowAConverterWouldCutAModel) {
  ModelConfig shape = model_of_heads_128();  // of 51 tokens
  for (const auto& [ranks, rows] : {std::pair(1, 51), std::pair(2, 52), std::pair(4, 52)}) {
    shape.stored_ranks = ranks;
    EXPECT_EQ(find_runtime(kTurboMind).converted_embedding_rows(shape), rows);
  }
}

}  // namespace
}  // namespace kvcalib
