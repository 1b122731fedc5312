// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/runtime.h"

#include <gtest/gtest.h>

#include "tests/message_of.h"
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

TEST(Delivery, ConsistsOfTheRuntimesFilesStatisticsAndSummary) {
  const OutputNames names = delivery_names(find_runtime(kTurboMind));
  for (const char* name : {"config.ini", "config.patch", "kv_stats.safetensors", "summary.json",
                           "layers.12.past_kv_scale.7.weight"})
    EXPECT_TRUE(names.is_ours(name)) << name;
  for (const char* name : {"norm.weight", "config.ini.backup", "layers.0.past_kv_scale.weight",
                           "layers.0.attention.wo.0.weight", ""})
    EXPECT_FALSE(names.is_ours(name)) << name;
}

TEST(ServedModels, AreRefusedWithAllTheirFaultsAtOnce) {
  const auto runtime = find_runtime(kTurboMind).open("0.2.6");
  ModelConfig config = model_of_heads_128();
  EXPECT_TRUE(check_served(*runtime, {config, 2, 0, 512}).empty());
  config.weight_type = WeightType::kBFloat16;
  const std::string message = message_of([&] { check_served(*runtime, {config, 4, 0, 512}); });
  EXPECT_HOLDS("weight_type = bf16", message);
  EXPECT_HOLDS("\nkv_head_num = 2: does not divide among 4", message);
}

TEST(ServedModels, HaveRowsOnDiskOnlyWhereTheRuntimeReadsThem) {
  const ModelConfig config = model_of_heads_128();
  EXPECT_EQ(served_embedding_rows(ModelDirectory("/model", config)), 0);
  EXPECT_EQ(served_embedding_rows(
                ModelDirectory("/weights", config, IniFile::parse("[llama]\n", "config.ini"))),
            51);
}

}  // namespace
}  // namespace kvcalib
