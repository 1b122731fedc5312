// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/rules.h"

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

const TurboMindRelease& release(std::string_view text) { return find_turbomind_release(text); }

std::string joined(const std::vector<std::string>& sentences) {
  std::string text;
  for (const std::string& sentence : sentences) text += sentence + "\n";
  return text;
}

std::string faults(const ModelConfig& config, std::string_view runtime, int64_t ranks,
                   int64_t rows = 0) {
  return joined(findings_in_config({config, ranks, rows}, release(runtime)).faults);
}

// The faults of a model served with its stored ranks, its embedding padded as it should be.
std::string refusal(const ModelConfig& config, std::string_view runtime) {
  return faults(config, runtime, config.stored_ranks, config.vocab);
}

std::vector<std::string> warnings(const ModelConfig& config, std::string_view runtime) {
  return findings_in_config({config, config.stored_ranks, config.vocab}, release(runtime)).warnings;
}

constexpr const char* kNothing = "";

TEST(RulesInConfig, AcceptsAPlainModelEverywhere) {
  for (const char* text : {"0.0.2", "0.0.4", "0.0.6", "0.0.14", "0.1.0", "0.2.6", "0.3.0"}) {
    EXPECT_EQ(refusal(model(), text), kNothing) << text;
    EXPECT_TRUE(warnings(model(), text).empty()) << text;
  }
}

TEST(RulesInConfig, RefusesBf16BeforeItsInt8Cache) {
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

TEST(RulesInConfig, RefusesARopeBaseThatIsNotRead) {
  ModelConfig config = model();
  config.rope_theta = 1e6;
  EXPECT_HOLDS("rope_theta = 1e+06: v0.0.7 does not read the key", refusal(config, "0.0.7"));
  EXPECT_EQ(refusal(config, "0.0.8"), kNothing);
}

TEST(RulesInConfig, WarnsOfPositionKeysThatAreNotRead) {
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

TEST(RulesInConfig, WarnsOfHeadSizesWithoutKernels) {
  ModelConfig config = model();
  config.head_dim = 8;
  ASSERT_EQ(warnings(config, "0.3.0").size(), 1u);
  EXPECT_HOLDS("size_per_head = 8: v0.3.0 has attention kernels for 128 only",
               warnings(config, "0.3.0")[0]);
}

TEST(RulesInConfig, RefusesToServeCutWeightsWithOtherRanks) {
  for (const int64_t ranks : {1, 2, 8}) {
    EXPECT_HOLDS(
        concat("tensor_para_size = 4: weights cut for 4 ranks cannot be served with ", ranks),
        faults(model(), "0.3.0", ranks, 1000));
  }
  EXPECT_HOLDS("0 serving ranks: expected 1 or more", faults(model(), "0.3.0", 0, 1000));
}

TEST(RulesInConfig, RefusesRanksThatDoNotDivideUncutWeights) {
  ModelConfig config = model();
  config.stored_ranks = 1;
  const auto serve = [&](const char* runtime, int64_t ranks) {
    return faults(config, runtime, ranks, 1000);
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

TEST(RulesInConfig, RefusesAnEmbeddingOfTheWrongSize) {
  ModelConfig config = model();
  config.stored_ranks = 1;
  config.vocab = 1001;
  const auto serve = [&](const char* runtime, int64_t ranks, int64_t rows) {
    return faults(config, runtime, ranks, rows);
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

// Every release, the oldest first, and the findings there.
std::vector<RuntimeFindings> everywhere(const ModelConfig& config) {
  std::vector<RuntimeFindings> found;
  for (const TurboMindRelease& each : turbomind_releases())
    found.push_back(findings_in_config({config, config.stored_ranks, config.vocab}, each));
  return found;
}

// What a sentence offers as the way out must have one: the release it names has no such fault.
TEST(RulesInConfig, NameAReleaseThatIsFreeOfTheFault) {
  ModelConfig config = model();
  config.session_length = 8192;
  config.rope_theta = 5e5;
  config.weight_type = WeightType::kBFloat16;
  for (const RuntimeFindings& found : everywhere(config)) {
    for (const std::string& fault : found.faults) {
      const std::string key = fault.substr(0, fault.find(" = "));
      const size_t at = fault.find("serve with v");
      ASSERT_NE(at, std::string::npos) << fault;
      const std::string named = fault.substr(at + 11, fault.find_first_of(" ,", at + 11) - at - 11);
      for (const std::string& other :
           findings_in_config({config, config.stored_ranks, config.vocab}, release(named)).faults)
        EXPECT_FALSE(other.starts_with(key)) << fault << "\nbut " << other;
    }
  }
}

ModelConfig own(RopeScaling::Kind kind) {
  ModelConfig config = model();
  config.stored_ranks = 1;
  config.own_rotation = RopeScaling{.kind = kind, .factor = 2.0};
  return config;
}

std::string deploy(const ModelConfig& config, std::string_view runtime, int64_t ranks = 1) {
  return joined(deploy_faults(config, release(runtime), ranks));
}

TEST(RulesOfModels, AcceptAPlainModelEverywhere) {
  for (const TurboMindRelease& each : turbomind_releases())
    EXPECT_EQ(deploy(own(RopeScaling::Kind::kNone), each.name(), 4), "") << each.name();
}

TEST(RulesOfModels, RefuseShapesThatNoReleaseHas) {
  ModelConfig config = own(RopeScaling::Kind::kNone);
  config.head_dim = 64;
  EXPECT_HOLDS("heads of 64 channels: TurboMind's have 128", deploy(config, "0.3.0"));
  config = own(RopeScaling::Kind::kNone);
  config.hidden = 1000;
  EXPECT_HOLDS("a hidden size of 1000, but 8 heads of 128 channels", deploy(config, "0.3.0"));
}

TEST(RulesOfModels, RefuseAttentionThatNoReleaseHas) {
  const std::string none = concat("no release up to ", turbomind_releases().back().name());
  ModelConfig config = own(RopeScaling::Kind::kNone);
  config.query_key_norm = true;
  EXPECT_HOLDS(concat("q and k are normalised by head: ", none, " does that"),
               deploy(config, "0.3.0"));
  config.query_key_norm = false;
  config.sliding_window = 1024;
  EXPECT_HOLDS(concat("through a sliding window of 1024 of 2048 positions: ", none),
               deploy(config, "0.3.0"));
  config.sliding_window = 2048;
  EXPECT_EQ(deploy(config, "0.3.0"), "");
}

TEST(RulesOfModels, RefuseBiasesOfTheMlp) {
  ModelConfig config = own(RopeScaling::Kind::kNone);
  config.mlp_bias = true;
  for (const TurboMindRelease& each : turbomind_releases())
    EXPECT_HOLDS("gate, up and down have biases (mlp_bias): no release up to",
                 deploy(config, each.name()));
}

TEST(RulesOfModels, RefuseScalingThatAReleaseDoesNotKnow) {
  EXPECT_HOLDS("linear rope_scaling: v0.2.6 does not know it; serve with v0.3.0",
               deploy(own(RopeScaling::Kind::kLinear), "0.2.6"));
  EXPECT_EQ(deploy(own(RopeScaling::Kind::kLinear), "0.3.0"), "");
  for (const auto kind : {RopeScaling::Kind::kDynamic, RopeScaling::Kind::kQwen}) {
    EXPECT_HOLDS("dynamic NTK (rope_scaling): v0.0.5 does not know it; serve with v0.0.6 or later",
                 deploy(own(kind), "0.0.5"));
    EXPECT_EQ(deploy(own(kind), "0.0.6"), "");
  }
  for (const TurboMindRelease& each : turbomind_releases())
    EXPECT_HOLDS("rope_scaling of type llama3",
                 deploy(own(RopeScaling::Kind::kLlama3), each.name()));
  ModelConfig config = own(RopeScaling::Kind::kNone);
  config.rope_theta = 1e6;
  config.use_logn_attention = true;
  EXPECT_EQ(deploy(config, "0.0.5"),
            "rope_theta other than 10000: v0.0.5 does not know it; serve with v0.0.8 or later\n"
            "use_logn_attn: v0.0.5 does not know it; serve with v0.0.6 or later\n");
}

TEST(RulesOfModels, NameTheRanksThatArePossible) {
  ModelConfig config = own(RopeScaling::Kind::kNone);
  EXPECT_EQ(deploy(config, "0.3.0", 8),
            "--tp 8: does not divide 4 kv heads; possible are 1, 2, 4\n");
  config.heads = config.kv_heads = 12;
  config.hidden = 12 * 128;
  config.intermediate = 96;
  config.vocab = 999;
  EXPECT_HOLDS("--tp 3: v0.0.11 takes powers of two only; possible are 1, 2, 4",
               deploy(config, "0.0.11", 3));
  EXPECT_EQ(deploy(config, "0.0.10", 3), "");
  EXPECT_HOLDS("--tp 2: does not divide 999 tokens of the vocabulary; possible are 1, 3",
               deploy(config, "0.0.5", 2));
  EXPECT_EQ(deploy(config, "0.0.5", 3), "");
}

TEST(RulesOfModels, TakeStoredBf16WeightsOnlyWhereTheyAreRead) {
  ModelConfig config = own(RopeScaling::Kind::kNone);
  config.weight_type = WeightType::kBFloat16;
  EXPECT_EQ(deploy(config, "0.0.14"), "") << "a converter makes a model fp16";
  config.own_rotation.reset();
  EXPECT_HOLDS("weight_type = bf16: v0.0.14 reads all weights as fp16; take v0.1.0 or later",
               deploy(config, "0.0.14"));
  EXPECT_EQ(deploy(config, "0.1.0"), "");
}

std::vector<std::string> calibrating(const ModelConfig& config, std::string_view runtime,
                                     int64_t length, bool zero_points = true) {
  return calibration_warnings({config, 1, 0, length, zero_points}, release(runtime));
}

TEST(CalibrationWarnings, AreNoneForWhatTheRuntimeDoesToo) {
  for (const TurboMindRelease& each : turbomind_releases())
    EXPECT_TRUE(calibrating(own(RopeScaling::Kind::kNone), each.name(), 4096, false).empty());
}

TEST(CalibrationWarnings, TellOfZeroPointsThatAreLost) {
  EXPECT_EQ(joined(calibrating(model(), "0.0.3", 512)),
            "v0.0.3 knows only symmetric scales: zero points are 0\n");
  EXPECT_TRUE(calibrating(model(), "0.0.4", 512).empty());
}

TEST(CalibrationWarnings, TellOfAnotherRotationExactlyWhereThereIsOne) {
  ModelConfig config = own(RopeScaling::Kind::kDynamic);
  config.own_rotation->original_positions = config.max_position_embeddings;
  EXPECT_TRUE(calibrating(config, "0.3.0", 2048).empty());
  EXPECT_TRUE(calibrating(config, "0.3.0", 4096).empty());
  EXPECT_HOLDS("rotary scaling dynamic at 2048 tokens: v0.1.0 rotates K otherwise",
               joined(calibrating(config, "0.1.0", 2048)));
  EXPECT_HOLDS("rotary scaling linear at 16 tokens: v0.2.6",
               joined(calibrating(own(RopeScaling::Kind::kLinear), "0.2.6", 16)));
  EXPECT_TRUE(calibrating(own(RopeScaling::Kind::kLinear), "0.3.0", 16).empty());
}

TEST(CalibrationWarnings, TellOfSessionsThatAreCutToWhatAnUnpagedReleasePrefills) {
  ModelConfig config = model();
  config.session_length = 4096;
  EXPECT_TRUE(calibrating(config, "0.0.14", 512).empty());
  config.session_length = 4097;
  EXPECT_HOLDS(
      "session_len = 4097: v0.0.14 prefills int8 KV for up to 4096 tokens only, and is "
      "set to that; serve longer sessions with v0.1.0 or later",
      joined(calibrating(config, "0.0.14", 512)));
  EXPECT_TRUE(calibrating(config, "0.1.0", 512).empty());
}

TEST(CalibrationWarnings, TellOfBiasesOfTheMlp) {
  ModelConfig config = own(RopeScaling::Kind::kNone);
  config.mlp_bias = true;
  EXPECT_HOLDS("gate, up and down have biases in this model; v0.3.0 has none",
               joined(calibrating(config, "0.3.0", 16)));
}

TEST(CalibrationWarnings, TellOfAttentionThatTheRuntimeLacks) {
  ModelConfig config = own(RopeScaling::Kind::kNone);
  config.sliding_window = 1024;
  EXPECT_TRUE(calibrating(config, "0.3.0", 1024).empty());
  EXPECT_HOLDS("sliding window of 1024 tokens: v0.3.0 attends to all 1025 of a window",
               joined(calibrating(config, "0.3.0", 1025)));
  config.query_key_norm = true;
  EXPECT_HOLDS("q and k are normalised in this model; v0.3.0 does not do that",
               joined(calibrating(config, "0.3.0", 16)));
}

TEST(ServingNote, NamesTheCommandsThatOverrideTheConfig) {
  EXPECT_EQ(serving_note(release("0.1.0")), "");
  EXPECT_EQ(serving_note(release("0.2.0")).find("pipeline"), std::string::npos);
  EXPECT_HOLDS("pass quant_policy 4 explicitly", serving_note(release("0.2.0")));
  EXPECT_HOLDS("pipeline()", serving_note(release("0.2.5")));
}

}  // namespace
}  // namespace kvcalib
