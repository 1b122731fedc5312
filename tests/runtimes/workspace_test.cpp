// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/workspace.h"

#include <gtest/gtest.h>

#include "sharding/files/error.h"
#include "sharding/formats/turbomind_directory.h"
#include "tests/message_of.h"
#include "tests/output/output_folder.h"
#include "tests/runtimes/model_directory.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;
namespace fs = std::filesystem;

const TurboMindRelease& release(const char* name) { return find_turbomind_release(name); }

// A model's own weights, whose folder says what begins and ends a text.
class WorkspaceOfAModel : public testing::Test {
 protected:
  void SetUp() override {
    put(folder_.path(), {{"config.json", R"({"bos_token_id": 7, "eos_token_id": 9})"}});
    config_.own_rotation.emplace();
  }
  Workspace plan(const char* name, int64_t ranks, const std::string& model_name = "llama2") {
    return plan_workspace(ModelDirectory(folder_.path(), config_), release(name), ranks,
                          model_name);
  }

  OutputFolder folder_;
  ModelConfig config_ = model_of_heads_128();
};

TEST_F(WorkspaceOfAModel, IsCutAsTheReleaseReadsIt) {
  config_.weight_type = WeightType::kBFloat16;
  Workspace workspace = plan("0.3.0", 2);
  EXPECT_EQ(workspace.cut.ranks, 2);
  EXPECT_EQ(workspace.cut.type, WeightType::kBFloat16);
  EXPECT_EQ(workspace.cut.table_rows, 52);
  EXPECT_TRUE(workspace.cut.normalise_head);
  workspace = plan("0.0.7", 2);
  EXPECT_EQ(workspace.cut.type, WeightType::kFloat16);
  EXPECT_FALSE(workspace.cut.normalise_head);
}

TEST_F(WorkspaceOfAModel, HasAConfigOfTheModelAndItsBoundaries) {
  const std::string config = plan("0.3.0", 2).config;
  for (const char* line : {"model_name = llama2\n", "vocab_size = 51\n", "start_id = 7\n",
                           "end_id = 9\n", "tensor_para_size = 2\n"})
    EXPECT_HOLDS(line, config);
}

TEST_F(WorkspaceOfAModel, NeedsTheNameOfAChatTemplate) {
  EXPECT_HOLDS("--model-name NAME is missing: v0.3.0 looks a chat template up by it",
               message_of([&] { plan("0.3.0", 2, ""); }));
}

TEST_F(WorkspaceOfAModel, TakesNoNameThatConfigIniCannotHold) {
  for (const char* const name : {"two\nlines", "carriage\rreturn", "\ttab", " blank", "blank ",
                                 "a ; comment", "50%", "bell\a", "\x7f", "a\n[other]"}) {
    EXPECT_THROW(plan("0.3.0", 1, name), UsageError) << name;
    EXPECT_HOLDS("config.ini cannot hold this; expected the name of a chat template",
                 message_of([&] { plan("0.3.0", 1, name); }));
  }
  EXPECT_HOLDS(R"(--model-name "two\nlines": config.ini)",
               message_of([&] { plan("0.3.0", 1, "two\nlines"); }));
  for (const char* const name : {"internlm-chat-7b", "a;b", "\xe6\xa8\xa1", "a = b"})
    EXPECT_HOLDS(concat("model_name = ", name, "\n"), plan("0.3.0", 1, name).config);
}

TEST_F(WorkspaceOfAModel, WarnsOfWeightsThatTheReleaseHasNoInt8CacheFor) {
  config_.weight_type = WeightType::kBFloat16;
  const auto warned = [&](const char* name) {
    std::string all;
    for (const std::string& warning : plan(name, 1).warnings) all += warning + "\n";
    return all.find("no int8 KV with these weights: weight_type = bf16") != std::string::npos;
  };
  EXPECT_FALSE(warned("0.0.14")) << "which makes them fp16";
  EXPECT_TRUE(warned("0.1.0"));
  EXPECT_TRUE(warned("0.2.6"));
  EXPECT_FALSE(warned("0.3.0"));
}

TEST_F(WorkspaceOfAModel, IsRefusedWithAllFaultsAtOnce) {
  config_.query_key_norm = true;
  const std::string message = message_of([&] { plan("0.3.0", 3); });
  EXPECT_HOLDS(folder_.path().string() + ": q and k are normalised", message);
  EXPECT_HOLDS("\n" + folder_.path().string() + ": --tp 3: does not divide", message);
}

// Weights that a runtime reads already.
class WorkspaceOfWeights : public testing::Test {
 protected:
  void SetUp() override { write_weights(weights_, config_); }
  Workspace plan(int64_t ranks, const std::string& model_name = "") {
    return plan_workspace(TurboMindDirectory::open(weights_), release("0.3.0"), ranks, model_name);
  }

  OutputFolder folder_;
  fs::path weights_ = folder_.path() / "weights";
  ModelConfig config_ = model_of_heads_128();
};

TEST_F(WorkspaceOfWeights, KeepsTheConfigButForTheCut) {
  const std::string before = contents(weights_ / "config.ini");
  EXPECT_EQ(plan(1).config, before);
  EXPECT_EQ(plan(2, "vicuna").config, IniFile::parse(before, "config.ini")
                                          .with("tensor_para_size", "2")
                                          .with("model_name", "vicuna")
                                          .text());
  EXPECT_EQ(plan(2).cut.table_rows, 52);
}

TEST_F(WorkspaceOfWeights, WarnsOfScalesThatAreCutOtherwise) {
  ASSERT_EQ(plan(2).warnings.size(), 1u);
  EXPECT_HOLDS("no tokenizer is beside the weights", plan(2).warnings[0]);
  const IniFile config = IniFile::read(weights_ / "config.ini");
  put(weights_, {{"config.ini", config.with("quant_policy", "4").text()}});
  EXPECT_EQ(plan(1).warnings.size(), 1u);
  ASSERT_EQ(plan(2).warnings.size(), 2u);
  EXPECT_HOLDS("quant_policy = 4 is kept; scale files are another matter", plan(2).warnings[0]);
}

TEST_F(WorkspaceOfWeights, IsWrittenAsAFolderThatIsItsOwn) {
  const fs::path written = folder_.path() / "written";
  fs::create_directory(written);
  const Workspace workspace = plan(2);
  const TurboMindDirectory source = TurboMindDirectory::open(weights_);
  write_workspace(source, workspace, written, {});
  EXPECT_EQ(contents(written / "weights/config.ini"), workspace.config);
  EXPECT_EQ(TurboMindDirectory::open(written / "weights").config().stored_ranks, 2);
  EXPECT_EQ(foreign_to_workspace(written), std::nullopt);
  put(written / "weights", {{"layers.0.past_kv_scale.0.weight", "x"}});
  EXPECT_EQ(foreign_to_workspace(written), "weights/layers.0.past_kv_scale.0.weight");
  put(written, {{"notes.txt", "x"}});
  EXPECT_EQ(foreign_to_workspace(written), "notes.txt");
}

}  // namespace
}  // namespace kvcalib
