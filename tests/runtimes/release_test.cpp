// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/release.h"

#include <gtest/gtest.h>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

ModelConfig model() {
  ModelConfig config;
  config.layers = 2;
  config.heads = 8;
  config.kv_heads = 4;
  config.head_dim = 128;
  config.hidden = 1024;
  config.intermediate = 2048;
  config.vocab = 1000;
  config.stored_ranks = 4;
  config.session_length = 2056;
  config.max_position_embeddings = 2048;
  return config;
}

RuntimeRelease release(std::string_view text) { return RuntimeRelease::parse(text); }

// The message for a model served with its stored ranks, its embedding padded as it should be.
std::string refusal(const ModelConfig& config, std::string_view runtime) {
  return message_of(
      [&] { check_runtime(config, release(runtime), config.stored_ranks, config.vocab); });
}

std::vector<std::string> warnings(const ModelConfig& config, std::string_view runtime) {
  return check_runtime(config, release(runtime), config.stored_ranks, config.vocab);
}

constexpr const char* kNothing = "nothing was thrown";

TEST(RuntimeRelease, KnowsTheReleasesWithScaleFiles) {
  for (const char* text : {"0.0.2", "v0.0.14", "0.1.0", "0.2.0", "v0.2.6", "0.3.0"}) {
    const std::string bare = text[0] == 'v' ? text + 1 : text;
    EXPECT_EQ(release(text).name(), "v" + bare);
  }
  EXPECT_LT(release("0.0.2"), release("0.0.14"));
  EXPECT_LT(release("0.0.14"), release("0.1.0"));
  EXPECT_EQ(release("v0.3.0"), RuntimeRelease(0, 3, 0));
}

TEST(RuntimeRelease, RefusesThoseWithout) {
  for (const char* text : {"0.4.0", "v0.4.2", "0.10.1", "1.0.0", "0.4"}) {
    EXPECT_HOLDS(concat("--runtime ", text, ": has no scale files: online KV quantization"),
                 message_of([&] { release(text); }));
  }
}

TEST(RuntimeRelease, NamesTheKnownOnesForWhatIsNone) {
  for (const char* text : {"0.0.1", "0.0.15", "0.1.1", "0.2.7", "0.3.1", "0.3", "", "v", "latest",
                           "0.3.0.1", "0.3.0rc1", "-0.3.0", "0.3.", "0..3.0", " 0.3.0"}) {
    EXPECT_HOLDS("known are v0.0.2 to v0.0.14, v0.1.0, v0.2.0 to v0.2.6, v0.3.0",
                 message_of([&] { release(text); }));
  }
}

TEST(RuntimeRelease, KnowsHowManyValuesAScaleFileHas) {
  EXPECT_EQ(release("0.0.2").scale_values(), 2);
  EXPECT_EQ(release("0.0.3").scale_values(), 2);
  EXPECT_EQ(release("0.0.4").scale_values(), 4);
  EXPECT_EQ(release("0.3.0").scale_values(), 4);
}

TEST(RuntimeCheck, AcceptsAPlainModelEverywhere) {
  for (const char* text : {"0.0.2", "0.0.4", "0.0.6", "0.0.14", "0.1.0", "0.2.6", "0.3.0"}) {
    EXPECT_EQ(refusal(model(), text), kNothing) << text;
    EXPECT_TRUE(warnings(model(), text).empty()) << text;
  }
}

TEST(RuntimeCheck, RefusesBf16BeforeItsInt8Cache) {
  ModelConfig config = model();
  config.weight_type = WeightType::kBFloat16;
  EXPECT_HOLDS("weight_type = bf16: v0.0.14 reads all weights as fp16", refusal(config, "0.0.14"));
  for (const char* text : {"0.1.0", "0.2.6"}) {
    EXPECT_HOLDS(concat("decoding in v", text, " ignores int8 KV for bf16 models and corrupts"),
                 refusal(config, text));
  }
  EXPECT_EQ(refusal(config, "0.3.0"), kNothing);
  ASSERT_EQ(warnings(config, "0.3.0").size(), 1u);
  EXPECT_HOLDS("only on GPUs of compute capability 8.0", warnings(config, "0.3.0")[0]);
}

TEST(RuntimeCheck, RefusesLongSessionsInUnpagedReleases) {
  ModelConfig config = model();
  config.session_length = 4096;
  EXPECT_EQ(refusal(config, "0.0.14"), kNothing);
  config.session_length = 4097;
  EXPECT_HOLDS("session_len = 4097: v0.0.14 prefills int8 KV for up to 4096 tokens only",
               refusal(config, "0.0.14"));
  EXPECT_EQ(refusal(config, "0.1.0"), kNothing);
}

TEST(RuntimeCheck, RefusesARopeBaseThatIsNotRead) {
  ModelConfig config = model();
  config.rope_theta = 1e6;
  EXPECT_HOLDS("rope_theta = 1e+06: v0.0.7 does not read the key", refusal(config, "0.0.7"));
  EXPECT_EQ(refusal(config, "0.0.8"), kNothing);
}

TEST(RuntimeCheck, WarnsOfPositionKeysThatAreNotRead) {
  ModelConfig config = model();
  config.use_dynamic_ntk = true;
  config.use_logn_attention = true;
  EXPECT_EQ(warnings(config, "0.0.5").size(), 2u);
  EXPECT_EQ(warnings(config, "0.0.6").size(), 0u);
  ASSERT_EQ(warnings(config, "0.2.6").size(), 1u);
  EXPECT_HOLDS("use_dynamic_ntk = 1: v0.2.6 does not read the key", warnings(config, "0.2.6")[0]);
  EXPECT_EQ(warnings(config, "0.3.0").size(), 0u);
  config.rope_scaling_factor = 2.0;
  EXPECT_EQ(warnings(config, "0.2.6").size(), 0u);
  ASSERT_EQ(warnings(config, "0.0.6").size(), 1u);
  EXPECT_HOLDS("rope_scaling_factor = 2: v0.0.6 does not read", warnings(config, "0.0.6")[0]);
}

TEST(RuntimeCheck, WarnsOfHeadSizesWithoutKernels) {
  ModelConfig config = model();
  config.head_dim = 8;
  ASSERT_EQ(warnings(config, "0.3.0").size(), 1u);
  EXPECT_HOLDS("size_per_head = 8: v0.3.0 has attention kernels for 128 only",
               warnings(config, "0.3.0")[0]);
}

TEST(RuntimeCheck, RefusesToServeCutWeightsWithOtherRanks) {
  for (const int64_t ranks : {1, 2, 8}) {
    EXPECT_HOLDS(
        concat("tensor_para_size = 4: weights cut for 4 ranks cannot be served with ", ranks),
        message_of([&] { check_runtime(model(), release("0.3.0"), ranks, 1000); }));
  }
  EXPECT_HOLDS("0 serving ranks: expected 1 or more",
               message_of([&] { check_runtime(model(), release("0.3.0"), 0, 1000); }));
}

TEST(RuntimeCheck, RefusesRanksThatDoNotDivideUncutWeights) {
  ModelConfig config = model();
  config.stored_ranks = 1;
  const auto serve = [&](const char* runtime, int64_t ranks) {
    return message_of([&] { check_runtime(config, release(runtime), ranks, 1000); });
  };
  EXPECT_EQ(serve("0.3.0", 4), kNothing);
  EXPECT_EQ(serve("0.0.3", 4), kNothing);
  EXPECT_HOLDS("tensor_para_size = 1: v0.0.2 cannot cut weights for 4 ranks", serve("0.0.2", 4));
  EXPECT_EQ(serve("0.0.2", 1), kNothing);
  EXPECT_HOLDS("kv_head_num = 4: does not divide among 8 serving ranks", serve("0.3.0", 8));
  const std::string message = serve("0.3.0", 3);
  EXPECT_HOLDS("\nkv_head_num = 4: does not divide among 3", message);
  EXPECT_HOLDS("head_num = 8: does not divide among 3", message);
  EXPECT_HOLDS("\ninter_size = 2048: does not divide among 3", message);
}

TEST(RuntimeCheck, RefusesAnEmbeddingOfTheWrongSize) {
  ModelConfig config = model();
  config.stored_ranks = 1;
  config.vocab = 1001;
  const auto serve = [&](const char* runtime, int64_t ranks, int64_t rows) {
    return message_of([&] { check_runtime(config, release(runtime), ranks, rows); });
  };
  EXPECT_HOLDS(
      "tok_embeddings.weight: has 1001 rows, v0.3.0 expects 1004 (vocab_size = 1001 rounded up to "
      "4 serving ranks)",
      serve("0.3.0", 4, 1001));
  EXPECT_EQ(serve("0.3.0", 4, 1004), kNothing);
  EXPECT_EQ(serve("0.3.0", 1, 1001), kNothing);
  EXPECT_EQ(serve("0.3.0", 4, 0), kNothing);
  EXPECT_HOLDS("vocab_size = 1001: v0.0.5 does not pad it", serve("0.0.5", 4, 1001));
  EXPECT_HOLDS("has 1004 rows, v0.0.5 expects 1001", serve("0.0.5", 1, 1004));
  EXPECT_EQ(serve("0.0.3", 1, 1004), kNothing);
}

IniFile config(const std::string& text) { return IniFile::parse(text, "config.ini"); }

TEST(ConfigPatch, ChangesOnlyTheKeysThatMust) {
  const IniFile before =
      config("[llama]\r\nuse_context_fmha = 1 ; fast\r\nquant_policy = 0\r\nhead_num = 8\r\n\r\n");
  EXPECT_EQ(patch_config(before, release("0.3.0")).text(),
            "[llama]\r\nuse_context_fmha = 1 ; fast\r\nquant_policy = 4\r\nhead_num = 8\r\n\r\n");
  EXPECT_EQ(patch_config(before, release("0.0.14")).text(),
            "[llama]\r\nuse_context_fmha = 0 ; fast\r\nquant_policy = 4\r\nhead_num = 8\r\n\r\n");
  const IniFile done = patch_config(before, release("0.0.14"));
  EXPECT_EQ(patch_config(done, release("0.0.14")).text(), done.text());
}

TEST(ConfigPatch, AddsWhatIsMissing) {
  EXPECT_EQ(patch_config(config("[llama]\na = 1\n"), release("0.0.2")).text(),
            "[llama]\na = 1\nquant_policy = 4\nuse_context_fmha = 0\n");
}

TEST(ConfigPatch, LeavesNoFault) {
  const IniFile before = config("[llama]\nquant_policy = 5\n");
  ASSERT_EQ(config_faults(before, release("0.0.14")).size(), 2u);
  EXPECT_HOLDS("config.ini: quant_policy = 5: v0.0.14 would not use the scales",
               config_faults(before, release("0.0.14"))[0]);
  EXPECT_HOLDS("config.ini: no use_context_fmha: flash attention of v0.0.14",
               config_faults(before, release("0.0.14"))[1]);
  EXPECT_EQ(config_faults(before, release("0.1.0")).size(), 1u);
  for (const char* text : {"0.0.2", "0.1.0"}) {
    EXPECT_TRUE(config_faults(patch_config(before, release(text)), release(text)).empty());
  }
}

TEST(ServingNote, NamesTheCommandsThatOverrideTheConfig) {
  EXPECT_EQ(serving_note(release("0.1.0")), "");
  EXPECT_EQ(serving_note(release("0.2.0")).find("pipeline"), std::string::npos);
  EXPECT_HOLDS("pass quant_policy 4 explicitly", serving_note(release("0.2.0")));
  EXPECT_HOLDS("pipeline()", serving_note(release("0.2.5")));
}

}  // namespace
}  // namespace kvcalib
