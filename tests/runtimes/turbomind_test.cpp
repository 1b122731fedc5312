// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/turbomind.h"

#include <gtest/gtest.h>

#include "tests/message_of.h"
#include "tests/runtimes/model_directory.h"

namespace kvcalib {
namespace {

using namespace fixture;

std::vector<std::string> names_of(const std::vector<OutputFile>& files) {
  std::vector<std::string> names;
  for (const OutputFile& file : files) names.push_back(file.name);
  return names;
}

std::vector<OutputFile> files_for(const WeightDirectory& weights) {
  const std::vector<KvScale> scales(2);
  return open_turbomind("0.3.0")->files({weights, {KvStatistics(2, 2, 128), {}}, scales, 1});
}

TEST(TurboMindFiles, AreScalesAloneForAModelsOwnWeights) {
  EXPECT_EQ(names_of(files_for(ModelDirectory("/model", model_of_heads_128()))),
            (std::vector<std::string>{"layers.0.past_kv_scale.0.weight",
                                      "layers.1.past_kv_scale.0.weight"}));
}

TEST(TurboMindFiles, HaveTheConfigAndWhatWasChangedBesideItsOwnWeights) {
  const ModelConfig config = model_of_heads_128();
  const auto beside = [&](const char* text) {
    return files_for(ModelDirectory("/weights", config, IniFile::parse(text, "config.ini")));
  };
  const std::vector<OutputFile> files = beside("[llama]\nquant_policy = 0\n");
  ASSERT_EQ(files.size(), 4u);
  EXPECT_EQ(files[2].name, "config.ini");
  EXPECT_EQ(files[2].bytes, "[llama]\nquant_policy = 4\n");
  EXPECT_EQ(files[3].name, "config.patch");
  EXPECT_HOLDS("+quant_policy = 4", files[3].bytes);
  EXPECT_EQ(beside("[llama]\nquant_policy = 4\n").back().name, "config.ini");
}

TEST(TurboMindFiles, AreAllNamedAsItsOwn) {
  const OutputNames names = turbomind_file_names();
  const ModelDirectory weights("/weights", model_of_heads_128(),
                               IniFile::parse("[llama]\n", "config.ini"));
  for (const OutputFile& file : files_for(weights)) EXPECT_TRUE(names.is_ours(file.name));
}

// An earlier set may have been cut for more ranks; what looks like scales speaks for one.
TEST(TurboMindFiles, GoWithTheirSetWhereTheyAreScales) {
  const OutputNames names = turbomind_file_names();
  EXPECT_TRUE(names.goes_with_the_set("layers.0.past_kv_scale.9.weight"));
  EXPECT_FALSE(names.goes_with_the_set("config.ini"));
  EXPECT_FALSE(names.goes_with_the_set("layers.0.past_kv_scale.9"));
  EXPECT_TRUE(names.tells_of_a_set("layers.0.past_kv_scale.9"));
  EXPECT_FALSE(names.tells_of_a_set("layers.0.attention.wo.0.weight"));
}

TEST(TurboMindFiles, AreTellableBeforeAnyWork) {
  ModelConfig config = model_of_heads_128();
  EXPECT_EQ(open_turbomind("0.3.0")->files_in_words(config, 2),
            "4 files layers.0.past_kv_scale.0.weight .. layers.1.past_kv_scale.1.weight of 16 "
            "bytes, config.ini, config.patch");
  config.own_rotation.emplace();
  EXPECT_EQ(open_turbomind("0.0.3")->files_in_words(config, 1),
            "2 files layers.0.past_kv_scale.0.weight .. layers.1.past_kv_scale.0.weight of 8 "
            "bytes");
}

TEST(TurboMind, WarnsOfWhatACalibrationWouldMiss) {
  ModelConfig config = model_of_heads_128();
  EXPECT_TRUE(open_turbomind("0.0.3")->examine({config, 1, 0, 512, false}).warnings.empty());
  EXPECT_EQ(open_turbomind("0.0.3")->examine({config, 1, 0, 512, true}).warnings.size(), 1u);
  config.query_key_norm = true;
  EXPECT_EQ(open_turbomind("0.3.0")->examine({config, 1, 0, 512, true}).warnings.size(), 1u);
}

TEST(TurboMind, HoldsZeroPointsExactlyWhereItsFilesDo) {
  const KvScale scale{1.0f, 0.5f, 1.0f, 0.5f};
  const ModelDirectory model("/model", model_of_heads_128());
  for (const char* release : {"0.0.2", "0.0.3", "0.0.4", "0.1.0", "0.3.0"}) {
    const auto runtime = open_turbomind(release);
    const StatisticsFile statistics{KvStatistics(1, 2, 128), {}};
    const std::string message = message_of([&] {
      runtime->files({model, statistics, std::span(&scale, 1), 1});
    });
    EXPECT_EQ(message == "nothing was thrown", runtime->holds_zero_points()) << release;
  }
}

}  // namespace
}  // namespace kvcalib
