// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/hugging_face_config.h"

#include <algorithm>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr int64_t kLargest = int64_t{1} << 30;    // of any size
constexpr int64_t kMostHeads = int64_t{1} << 16;  // so that products of sizes stay in 64 bits
constexpr int64_t kMostLayers = int64_t{1} << 16;

int64_t positive(const JsonObject& config, std::string_view key, int64_t most = kLargest) {
  const int64_t value = config.integer(key);
  if (value <= 0 || value > most)
    config.refuse(concat(key, " = ", value, ", expected a positive number up to ", most));
  return value;
}

double positive_number(const JsonObject& config, std::string_view key) {
  const double value = config.number(key);
  if (!(value > 0)) config.refuse(concat(key, " = ", value, ", expected > 0"));
  return value;
}

int64_t head_dim(const JsonObject& config, const ModelFamily& family, const ModelConfig& model) {
  const std::string_view key = family.head_dim_key;
  if (!config.has(key) && model.hidden % model.heads != 0)
    config.refuse(concat("hidden_size = ", model.hidden,
                         " is not divisible by num_attention_heads = ", model.heads));
  const int64_t size = config.has(key) ? positive(config, key) : model.hidden / model.heads;
  if (size % 2 != 0 || size > 256)
    config.refuse(concat(key, " = ", size, ", expected an even number up to 256"));
  return size;
}

void check_whole_rotation(const JsonObject& object) {
  for (const char* const key : {"partial_rotary_factor", "rotary_pct"}) {
    if (object.number(key, 1.0) != 1.0)
      object.refuse(concat(key, " = ", object.number(key),
                           ", expected 1: partial rotation is not supported"));
  }
}

// Where a config states its rotation: transformers 5, earlier releases, InternLM.
JsonObject rotation_object(const JsonObject& config) {
  for (const char* const key : {"rope_parameters", "rope_scaling", "rotary"}) {
    if (JsonObject object = config.object(key); !object.is_empty()) return object;
  }
  return config.object("rope_scaling");
}

std::string rotation_kind(const JsonObject& rotation) {
  for (const char* const key : {"rope_type", "type"}) {
    if (rotation.has(key)) return rotation.text(key, "");
  }
  if (rotation.has("factor")) rotation.refuse("rope_type is missing");
  return "default";
}

RopeScaling read_scaling(const JsonObject& config, const JsonObject& rotation,
                         const ModelFamily& family) {
  using Kind = RopeScaling::Kind;
  RopeScaling scaling;
  const std::string kind = rotation_kind(rotation);
  if (config.flag("use_dynamic_ntk", false)) {
    scaling.kind = Kind::kQwen;
    scaling.original_positions = positive(config, family.positions_key);
  } else if (kind == "linear") {
    scaling.kind = Kind::kLinear;
    scaling.factor = positive_number(rotation, "factor");
  } else if (kind == "dynamic") {
    scaling.kind = Kind::kDynamic;
    if (!rotation.has("base"))  // InternLM's "rotary" has another name for it, and a default
      scaling.factor = positive_number(rotation, "factor");
    else if (rotation.has("scaling_factor"))
      scaling.factor = positive_number(rotation, "scaling_factor");
    scaling.original_positions = positive(config, family.positions_key);
  } else if (kind == "llama3") {
    scaling.kind = Kind::kLlama3;
    scaling.factor = positive_number(rotation, "factor");
    scaling.low_frequency_factor = positive_number(rotation, "low_freq_factor");
    scaling.high_frequency_factor = positive_number(rotation, "high_freq_factor");
    scaling.original_positions = positive(rotation, "original_max_position_embeddings");
    if (scaling.high_frequency_factor <= scaling.low_frequency_factor)
      rotation.refuse(concat("high_freq_factor = ", scaling.high_frequency_factor,
                             ", expected more than low_freq_factor"));
  } else if (kind != "default" && kind != "none" && kind != "origin") {
    rotation.refuse(concat("rope_type is '", kind,
                           "', expected default, linear, dynamic or llama3: other ways to scale ",
                           "rotary positions are not supported"));
  }
  return scaling;
}

void read_rotation(const JsonObject& config, const ModelFamily& family, ModelConfig& model) {
  const JsonObject rotation = rotation_object(config);
  check_whole_rotation(config);
  check_whole_rotation(rotation);
  if (rotation.has("rope_theta"))
    model.rope_theta = positive_number(rotation, "rope_theta");
  else if (rotation.has("base"))
    model.rope_theta = positive_number(rotation, "base");
  else if (config.has(family.rope_theta_key))
    model.rope_theta = positive_number(config, family.rope_theta_key);
  model.own_rotation = read_scaling(config, rotation, family);
  model.use_logn_attention = config.flag("use_logn_attn", false);
}

[[noreturn]] void refuse_mixed_window(const JsonObject& config, const char* key) {
  config.refuse(concat(key, " gives a sliding window to some layers only, which is not supported"));
}

// Whether all layers attend through the window that the config states, or none.
bool uses_window(const JsonObject& config, const ModelFamily& family, int64_t layers) {
  if (family.window == WindowRule::kNever || !config.has("sliding_window")) return false;
  if (family.window == WindowRule::kWhereUsed && !config.flag("use_sliding_window", false))
    return false;
  if (const std::vector<std::string> types = config.texts("layer_types"); !types.empty()) {
    const auto windows = std::count(types.begin(), types.end(), "sliding_attention");
    if (windows != 0 && windows != static_cast<int64_t>(types.size()))
      refuse_mixed_window(config, "layer_types");
    return windows != 0;
  }
  if (family.window == WindowRule::kWhereStated) return true;
  const int64_t first = config.integer("max_window_layers");
  if (first > 0 && first < layers) refuse_mixed_window(config, "max_window_layers");
  return first <= 0;
}

void check_activation(const JsonObject& config) {
  const std::string activation = config.text("hidden_act", "silu");
  if (activation != "silu" && activation != "swish")
    config.refuse(concat("hidden_act is '", activation, "', expected silu"));
}

void check_rotates(const JsonObject& config, const ModelFamily& family, int64_t hidden) {
  if (family.alibi_hidden == 0 || hidden != family.alibi_hidden) return;
  config.refuse(concat("hidden_size = ", hidden, " is the 13B ", family.architectures.front(),
                       ", which has ALiBi in place of rotary positions: not supported; its 7B is"));
}

}  // namespace

const ModelFamily& read_family(const JsonObject& config) {
  if (config.has("quantization_config"))
    config.refuse(
        "quantization_config is there: quantised weights cannot be calibrated; take the "
        "model in float16 or bfloat16");
  const std::vector<std::string> names = config.texts("architectures");
  if (names.empty())
    config.refuse("architectures is missing; expected that of a causal language model");
  return find_family(names.front(), config.origin());
}

std::optional<WeightType> stated_weight_type(const JsonObject& config) {
  for (const char* const key : {"dtype", "torch_dtype"}) {
    if (!config.has(key)) continue;
    const std::string type = config.text(key, "");
    if (type == "bfloat16") return WeightType::kBFloat16;
    if (type == "float16" || type == "float32") return WeightType::kFloat16;
    if (type != "auto")
      config.refuse(concat(key, " is '", type, "', expected bfloat16, float16 or float32"));
  }
  return std::nullopt;
}

ModelConfig read_hugging_face_config(const JsonObject& config, const ModelFamily& family) {
  ModelConfig model;
  model.weight_type = stated_weight_type(config).value_or(WeightType::kFloat16);
  model.layers = positive(config, "num_hidden_layers", kMostLayers);
  model.hidden = positive(config, "hidden_size");
  model.heads = positive(config, "num_attention_heads", kMostHeads);
  model.kv_heads =
      config.has("num_key_value_heads") ? positive(config, "num_key_value_heads") : model.heads;
  model.vocab = positive(config, "vocab_size");
  model.intermediate = positive(config, "intermediate_size");
  if (model.intermediate % family.intermediate_divisor != 0)
    config.refuse(concat("intermediate_size = ", model.intermediate, ", expected a multiple of ",
                         family.intermediate_divisor));
  model.intermediate /= family.intermediate_divisor;
  check_rotates(config, family, model.hidden);
  model.head_dim = head_dim(config, family, model);
  if (model.heads % model.kv_heads != 0)
    config.refuse(concat("num_attention_heads = ", model.heads,
                         " is not divisible by num_key_value_heads = ", model.kv_heads));
  check_activation(config);
  model.norm_eps = positive_number(config, family.norm_eps_key);
  model.attention_bias = family.qkv_bias || (!family.bias_key.empty() &&
                                             config.flag(family.bias_key, family.bias_by_default));
  model.query_key_norm = !family.query_norm.empty();
  if (model.query_key_norm && model.attention_bias)
    config.refuse(concat(family.bias_key, " is true, expected false: a bias of q and k that are ",
                         "normalised is not supported"));
  if (uses_window(config, family, model.layers))
    model.sliding_window = positive(config, "sliding_window");
  if (config.has(family.positions_key))
    model.max_position_embeddings = positive(config, family.positions_key);
  read_rotation(config, family, model);
  return model;
}

}  // namespace kvcalib
