// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/hugging_face_config.h"

#include <gtest/gtest.h>

#include "sharding/formats/model_config_json.h"
#include "sharding/formats/open_weights.h"
#include "sharding/formats/weight_directory.h"
#include "tests/hugging_face_fixture.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

using fixture::biased_model;
using fixture::small_model;
using fixture::TemporaryFolder;
using fixture::write_file;
using fixture::write_hugging_face;

// The config of a directory whose config.json was changed so.
ModelConfig config_of(const nlohmann::json& changes,
                      const std::string& architecture = "LlamaForCausalLM",
                      const ModelConfig& model = small_model()) {
  const TemporaryFolder folder;
  write_hugging_face(folder.path(), model,
                     {.architecture = architecture, .config_changes = changes});
  return open_weights(folder.path())->config();
}

std::string refusal_of_config(const nlohmann::json& changes,
                              const std::string& architecture = "LlamaForCausalLM") {
  return message_of([&] { config_of(changes, architecture); });
}

TEST(HuggingFaceConfig, RefusesWhatItDoesNotKnow) {
  EXPECT_HOLDS("architectures names 'GPT2LMHeadModel', expected one of LlamaForCausalLM",
               refusal_of_config({{"architectures", {"GPT2LMHeadModel"}}}));
  EXPECT_HOLDS("architectures is missing", refusal_of_config({{"architectures", nullptr}}));
  EXPECT_HOLDS("hidden_act is 'gelu', expected silu", refusal_of_config({{"hidden_act", "gelu"}}));
  EXPECT_HOLDS("torch_dtype is 'int8'", refusal_of_config({{"torch_dtype", "int8"}}));
  EXPECT_HOLDS("partial_rotary_factor = 0.5", refusal_of_config({{"partial_rotary_factor", 0.5}}));
  EXPECT_HOLDS("rope_parameters: partial_rotary_factor = 0.5",
               refusal_of_config({{"rope_parameters", {{"partial_rotary_factor", 0.5}}}}));
  EXPECT_HOLDS("config.json: rope_scaling: rope_type is 'yarn', expected default, linear",
               refusal_of_config({{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}}}));
  EXPECT_HOLDS("rope_scaling: factor is missing",
               refusal_of_config({{"rope_scaling", {{"type", "linear"}}}}));
  EXPECT_HOLDS("rope_scaling: rope_type is missing",
               refusal_of_config({{"rope_scaling", {{"factor", 2.0}}}}));
  EXPECT_HOLDS("rope_scaling = \"linear\", expected an object",
               refusal_of_config({{"rope_scaling", "linear"}}));
}

TEST(HuggingFaceConfig, NamesTheKeyThatIsMissingOrContradictsAnother) {
  const std::pair<nlohmann::json, const char*> cases[] = {
      {{{"num_attention_heads", nullptr}}, "config.json: num_attention_heads is missing"},
      {{{"num_attention_heads", 0}}, "num_attention_heads = 0, expected a positive number"},
      {{{"num_attention_heads", "4"}}, "num_attention_heads = \"4\", expected a whole number"},
      {{{"num_attention_heads", 5}}, "hidden_size = 64 is not divisible by num_attention_heads"},
      {{{"num_key_value_heads", 3}}, "not divisible by num_key_value_heads = 3"},
      {{{"num_key_value_heads", -1}}, "num_key_value_heads = -1"},
      {{{"head_dim", 15}}, "head_dim = 15, expected an even number up to 256"},
      {{{"head_dim", 512}}, "head_dim = 512, expected an even number up to 256"},
      {{{"num_hidden_layers", nullptr}}, "num_hidden_layers is missing"},
      {{{"rms_norm_eps", nullptr}}, "rms_norm_eps is missing"},
      {{{"rms_norm_eps", 0}}, "rms_norm_eps = 0, expected > 0"},
      {{{"rope_theta", -1}}, "rope_theta = -1"},
      {{{"tie_word_embeddings", 1}}, "tie_word_embeddings = 1, expected true or false"}};
  for (const auto& [changes, expected] : cases) EXPECT_HOLDS(expected, refusal_of_config(changes));
  EXPECT_HOLDS("hidden_size = 5120 is the 13B BaichuanForCausalLM, which has ALiBi",
               refusal_of_config({{"hidden_size", 5120}}, "BaichuanForCausalLM"));
  const TemporaryFolder folder;
  write_file(folder.path() / "config.json", "{\"hidden_size\":");
  EXPECT_HOLDS("config.json: is not JSON, at byte 16",
               message_of([&] { open_weights(folder.path()); }));
}

TEST(HuggingFaceConfig, ReadsTheWeightType) {
  EXPECT_EQ(config_of({{"torch_dtype", "float32"}}).weight_type, WeightType::kFloat16);
  EXPECT_EQ(config_of({{"torch_dtype", nullptr}, {"dtype", "bfloat16"}}).weight_type,
            WeightType::kBFloat16);
  EXPECT_EQ(config_of({{"torch_dtype", nullptr}}).weight_type, WeightType::kFloat16);
  const TemporaryFolder folder;
  write_hugging_face(folder.path(), small_model(),
                     {.dtype = "BF16", .config_changes = {{"torch_dtype", nullptr}}});
  EXPECT_EQ(open_weights(folder.path())->config().weight_type, WeightType::kBFloat16);
}

TEST(HuggingFaceConfig, ReadsTheRotation) {
  using Kind = RopeScaling::Kind;
  const ModelConfig plain = config_of({});
  ASSERT_TRUE(plain.own_rotation);
  EXPECT_EQ(plain.own_rotation->kind, Kind::kNone);
  EXPECT_EQ(plain.rope_theta, 10000.0);
  EXPECT_EQ(plain.max_position_embeddings, 2048);
  EXPECT_EQ(config_of({{"rope_theta", 1e6}}).rope_theta, 1e6);

  const ModelConfig five =
      config_of({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 500000.0}}}});
  EXPECT_EQ(five.rope_theta, 500000.0);
  EXPECT_EQ(five.own_rotation->kind, Kind::kNone);

  const ModelConfig linear = config_of({{"rope_scaling", {{"type", "linear"}, {"factor", 4}}}});
  EXPECT_EQ(linear.own_rotation->kind, Kind::kLinear);
  EXPECT_EQ(linear.own_rotation->factor, 4.0);

  const ModelConfig dynamic =
      config_of({{"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.0}}}});
  EXPECT_EQ(dynamic.own_rotation->kind, Kind::kDynamic);
  EXPECT_EQ(dynamic.own_rotation->original_positions, 2048);

  const ModelConfig llama3 = config_of({{"rope_scaling",
                                         {{"rope_type", "llama3"},
                                          {"factor", 8.0},
                                          {"low_freq_factor", 1.0},
                                          {"high_freq_factor", 4.0},
                                          {"original_max_position_embeddings", 1024}}}});
  EXPECT_EQ(llama3.own_rotation->kind, Kind::kLlama3);
  EXPECT_EQ(llama3.own_rotation->factor, 8.0);
  EXPECT_EQ(llama3.own_rotation->original_positions, 1024);
}

TEST(HuggingFaceConfig, ReadsTheRotationOfInternLmAndQwen) {
  using Kind = RopeScaling::Kind;
  const ModelConfig internlm = config_of({{"rotary", {{"base", 20000}, {"type", "dynamic"}}}},
                                         "InternLMForCausalLM", biased_model());
  EXPECT_EQ(internlm.own_rotation->kind, Kind::kDynamic);
  EXPECT_EQ(internlm.own_rotation->factor, 1.0);
  EXPECT_EQ(internlm.rope_theta, 20000.0);

  const ModelConfig qwen =
      config_of({{"rotary_emb_base", 20000}, {"use_dynamic_ntk", true}, {"use_logn_attn", true}},
                "QWenLMHeadModel", biased_model());
  EXPECT_EQ(qwen.own_rotation->kind, Kind::kQwen);
  EXPECT_EQ(qwen.own_rotation->original_positions, 1024);
  EXPECT_EQ(qwen.max_position_embeddings, 1024);
  EXPECT_EQ(qwen.rope_theta, 20000.0);
  EXPECT_TRUE(qwen.use_logn_attention);
}

TEST(HuggingFaceConfig, ReadsTheSlidingWindowWhereTheModelUsesIt) {
  const nlohmann::json window = {{"sliding_window", 32}};
  EXPECT_EQ(config_of(window).sliding_window, 0);
  EXPECT_EQ(config_of(window, "MistralForCausalLM").sliding_window, 32);
  EXPECT_EQ(config_of({}, "MistralForCausalLM").sliding_window, 4096) << "transformers' default";
  const std::vector<std::string> sliding(3, "sliding_attention"), full(3, "full_attention");
  nlohmann::json listed = {{"sliding_window", 32}, {"layer_types", sliding}};
  EXPECT_EQ(config_of(listed, "MistralForCausalLM").sliding_window, 32);
  listed["layer_types"] = full;
  EXPECT_EQ(config_of(listed, "MistralForCausalLM").sliding_window, 0);
  const auto qwen2 = [](const nlohmann::json& changes) {
    return config_of(changes, "Qwen2ForCausalLM", biased_model()).sliding_window;
  };
  EXPECT_EQ(qwen2(window), 0);
  EXPECT_EQ(qwen2({{"sliding_window", 32}, {"use_sliding_window", false}}), 0);
  nlohmann::json used = {{"sliding_window", 32}, {"use_sliding_window", true}};
  used["max_window_layers"] = 0;
  EXPECT_EQ(qwen2(used), 32);
  used["max_window_layers"] = 3;
  EXPECT_EQ(qwen2(used), 0);
  used["max_window_layers"] = 1;
  EXPECT_HOLDS("max_window_layers gives a sliding window to some layers only",
               message_of([&] { qwen2(used); }));
  used["layer_types"] = {"full_attention", "sliding_attention", "sliding_attention"};
  EXPECT_HOLDS("layer_types gives a sliding window to some layers only",
               message_of([&] { qwen2(used); }));
}

TEST(HuggingFaceConfig, RefusesTwoStatementsThatDisagreeNamingBoth) {
  const nlohmann::json linear = {{"rope_type", "linear"}, {"factor", 4.0}};
  const nlohmann::json dynamic = {{"rope_type", "dynamic"}, {"factor", 4.0}};
  const nlohmann::json theta = {{"rope_theta", 500000.0}};
  const nlohmann::json llama3 = {{"rope_type", "llama3"},
                                 {"factor", 8.0},
                                 {"low_freq_factor", 1.0},
                                 {"high_freq_factor", 4.0},
                                 {"original_max_position_embeddings", 1024}};
  const std::pair<nlohmann::json, const char*> cases[] = {
      {{{"rope_scaling", linear}, {"rope_parameters", {{"rope_type", "default"}}}},
       "config.json: rope_type is linear in rope_scaling, and default in rope_parameters"},
      {{{"rope_scaling", linear}, {"rope_parameters", dynamic}},
       "rope_type is linear in rope_scaling, and dynamic in rope_parameters"},
      {{{"rope_scaling", linear}, {"rope_parameters", {{"type", "linear"}, {"factor", 2}}}},
       "factor is 4.0 in rope_scaling, and 2 in rope_parameters"},
      {{{"rope_scaling", {{"type", "linear"}, {"rope_type", "dynamic"}, {"factor", 4}}}},
       "rope_type is 'dynamic', and type is 'linear'"},
      {{{"rope_theta", 10000.0}, {"rope_parameters", theta}},
       "rope_theta is 500000 in rope_parameters, and 10000 outside"},
      {{{"rope_scaling", linear}, {"rope_parameters", theta}},
       "rope_theta is 10000 by default, and 500000 in rope_parameters"},
      {{{"rope_scaling", llama3}, {"original_max_position_embeddings", 2048}},
       "original_max_position_embeddings is 2048 outside, and 1024 in rope_scaling"},
      {{{"dtype", "bfloat16"}, {"torch_dtype", "float16"}},
       "dtype is 'bfloat16', and torch_dtype is 'float16'"},
      {{{"model_type", "qwen2"}},
       "model_type is 'qwen2', and architectures names LlamaForCausalLM, whose model_type"},
      {{{"architectures", {"LlamaForCausalLM", "Qwen2ForCausalLM"}}},
       "architectures names LlamaForCausalLM and Qwen2ForCausalLM: they disagree"},
      {{{"rope_parameters", {{"full_attention", linear}}}},
       "rope_parameters: has the key full_attention"},
      {{{"per_layer_config", {{"0", {{"head_dim", 32}}}}}}, "per_layer_config gives layers"}};
  for (const auto& [changes, expected] : cases) EXPECT_HOLDS(expected, refusal_of_config(changes));
  EXPECT_HOLDS("kv_channels = 32, and hidden_size / num_attention_heads = 16: they disagree",
               refusal_of_config({{"kv_channels", 32}}, "QWenLMHeadModel"));
}

TEST(HuggingFaceConfig, RefusesWindowsThatDisagreeNamingBoth) {
  const std::vector<std::string> sliding(3, "sliding_attention"), full(3, "full_attention");
  const std::pair<nlohmann::json, const char*> cases[] = {
      {{{"layer_types", sliding}, {"sliding_window", 32}},
       "layer_types has sliding_attention, and use_sliding_window is false"},
      {{{"layer_types", full},
        {"sliding_window", 32},
        {"use_sliding_window", true},
        {"max_window_layers", 0}},
       "layer_types has other layers with a window than max_window_layers = 0"},
      {{{"layer_types", {"full_attention"}}},
       "layer_types has 1 entries, and num_hidden_layers = 3: they disagree"},
      {{{"layer_types", {"full_attention", "full_attention", "chunked_attention"}}},
       "layer_types has 'chunked_attention', expected full_attention or sliding_attention"}};
  for (const auto& [changes, expected] : cases)
    EXPECT_HOLDS(expected, refusal_of_config(changes, "Qwen2ForCausalLM"));
}

TEST(HuggingFaceConfig, TakesStatementsThatAgree) {
  const nlohmann::json linear = {{"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", 20000}};
  const nlohmann::json changes = {{"rope_scaling", linear},
                                  {"rope_parameters", linear},
                                  {"rope_theta", 20000.0},
                                  {"dtype", "float16"},
                                  {"torch_dtype", "float16"},
                                  {"model_type", "llama"},
                                  {"architectures", {"LlamaForCausalLM", "LLaMAForCausalLM"}}};
  const ModelConfig model = config_of(changes);
  EXPECT_EQ(model.own_rotation->kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(model.own_rotation->factor, 4.0);
  EXPECT_EQ(model.rope_theta, 20000.0);
  EXPECT_EQ(model.weight_type, WeightType::kFloat16);
}

// What a directory whose config.json was changed so warns of, end to end.
std::string warnings_of(const nlohmann::json& changes,
                        const std::string& architecture = "LlamaForCausalLM",
                        const ModelConfig& model = small_model()) {
  const TemporaryFolder folder;
  write_hugging_face(folder.path(), model,
                     {.architecture = architecture, .config_changes = changes});
  std::string all;
  const auto directory = open_weights(folder.path());
  for (const std::string& warning : directory->warnings()) all += warning + "\n";
  return all;
}

TEST(HuggingFaceConfig, ReadsAKeyOnlyWhereItsFamilyDoesAndTellsOfItElsewhere) {
  const struct {
    const char* architecture;
    nlohmann::json changes;
    const char* told;
  } cases[] = {
      {"Qwen2ForCausalLM", {{"use_dynamic_ntk", true}}, "use_dynamic_ntk = true is not read by"},
      {"Qwen2ForCausalLM", {{"use_logn_attn", true}}, "use_logn_attn = true is not read by"},
      {"LlamaForCausalLM", {{"rotary", {{"type", "dynamic"}}}}, "rotary = {"},
      {"LlamaForCausalLM", {{"rotary_emb_base", 500}}, "rotary_emb_base = 500"},
      {"LlamaForCausalLM", {{"sliding_window", 32}}, "sliding_window = 32"},
      {"LlamaForCausalLM", {{"is_causal", false}}, "is_causal = false"},
      {"LlamaForCausalLM",
       {{"original_max_position_embeddings", 20}},
       "config.json: original_max_position_embeddings = 20"},
      {"LlamaForCausalLM",
       {{"rope_scaling", {{"type", "default"}, {"original_max_position_embeddings", 20}}}},
       "config.json: rope_scaling: original_max_position_embeddings = 20"},
      {"LlamaForCausalLM", {{"attn_logit_softcapping", 50.0}}, "attn_logit_softcapping = 50.0"},
      {"LlamaForCausalLM", {{"layer_types", {"sliding_attention"}}}, "layer_types = ["},
      {"MistralForCausalLM", {{"use_sliding_window", false}}, "use_sliding_window = false"},
      {"InternLMForCausalLM",
       {{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}},
       "rope_scaling = {"},
      {"InternLM2ForCausalLM", {{"rope_parameters", {{"rope_theta", 5}}}}, "rope_parameters = {"},
      {"InternLM2ForCausalLM", {{"head_dim", 32}}, "head_dim = 32"},
      {"QWenLMHeadModel", {{"rope_theta", 500.0}}, "rope_theta = 500.0"},
      {"BaichuanForCausalLM", {{"rope_theta", 500.0}}, "rope_theta = 500.0"},
      {"BaichuanForCausalLM", {{"num_key_value_heads", 1}}, "num_key_value_heads = 1"},
      {"BaichuanForCausalLM", {{"sliding_window", 32}}, "sliding_window = 32"}};
  for (const auto& [architecture, changes, told] : cases) {
    const bool biased = std::string_view(architecture).starts_with("Q");
    const ModelConfig model = biased ? biased_model() : small_model();
    EXPECT_EQ(warnings_of({}, architecture, model), "") << architecture;
    EXPECT_HOLDS(told, warnings_of(changes, architecture, model));
    const ModelConfig plain = config_of({}, architecture, model);
    const ModelConfig read = config_of(changes, architecture, model);
    EXPECT_EQ(nlohmann::json(read), nlohmann::json(plain)) << architecture << " " << told;
  }
}

TEST(HuggingFaceConfig, DoesNotTellOfKeysThatChangeNothing) {
  EXPECT_EQ(warnings_of({{"use_dynamic_ntk", false},
                         {"sliding_window", 4096},
                         {"use_sliding_window", false},
                         {"layer_types", {"full_attention", "full_attention", "full_attention"}},
                         {"head_dim", 16},
                         {"kv_channels", 16},
                         {"rotary_emb_base", 10000},
                         {"rotary", {{"type", "origin"}}},
                         {"rotary_pct", 1},
                         {"residual_multiplier", 1},
                         {"quantization_config", nlohmann::json::object()}}),
            "");
}

}  // namespace
}  // namespace kvcalib
