// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/hugging_face_config.h"

#include <algorithm>

#include "sharding/files/error.h"
#include "sharding/formats/config_numbers.h"
#include "sharding/formats/hugging_face_rotation.h"
#include "sharding/formats/hugging_face_window.h"

namespace kvcalib {
namespace {

int64_t hidden_by_heads(const JsonObject& config, const ModelConfig& model) {
  if (model.hidden % model.heads != 0)
    config.refuse(concat("hidden_size = ", model.hidden,
                         " is not divisible by num_attention_heads = ", model.heads));
  return model.hidden / model.heads;
}

int64_t head_dim(const JsonObject& config, const ModelFamily& family, const ModelConfig& model) {
  const std::string_view key = family.head_dim_key;
  int64_t size = family.default_head_dim;
  if (!key.empty() && config.has(key))
    size = positive(config, key);
  else if (size == 0 || config.states(key))  // null: by the heads
    size = hidden_by_heads(config, model);
  if (size % 2 != 0 || size > kLargestHeadDim)
    config.refuse(concat(key.empty() ? "hidden_size / num_attention_heads" : key, " = ", size,
                         ", expected an even number up to ", kLargestHeadDim));
  if (family.rotation == RotationRule::kFlags && size != hidden_by_heads(config, model))
    config.refuse(concat(key, " = ", size, ", and hidden_size / num_attention_heads = ",
                         hidden_by_heads(config, model), ": they disagree; ",
                         family.architectures.front(), " has one head size"));
  return size;
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

// What config.json calls the model's numbers, where that is not as in this program.
ModelKeys keys_of(const ModelFamily& family) {
  ModelKeys keys;
  keys.layers = "num_hidden_layers";
  keys.hidden = "hidden_size";
  keys.heads = "num_attention_heads";
  keys.kv_heads = "num_key_value_heads";
  keys.intermediate = "intermediate_size";
  keys.vocab = "vocab_size";
  keys.norm_eps = family.norm_eps_key.data();
  return keys;
}

bool is_empty(const JsonObject& object, const char* key) {
  const nlohmann::json* const value = object.find(key);
  return value == nullptr || value->empty();
}

// compressed-tensors and ModelOpt can quantise the KV cache alone.
bool quantises_weights(const JsonObject& config) {
  const JsonObject quantisation = config.object("quantization_config");
  if (quantisation.is_empty()) return false;
  const std::string method = quantisation.text("quant_method", "");
  if (method == "compressed-tensors")
    return !is_empty(quantisation, "config_groups") || !quantisation.has("kv_cache_scheme");
  if (method == "modelopt")
    return !is_empty(quantisation, "quant_algo") || !is_empty(quantisation, "config_groups") ||
           !quantisation.has("kv_cache_quant_algo");
  return true;
}

void check_one_model(const JsonObject& config, const ModelFamily& family) {
  if (family.rotation == RotationRule::kParameters && !is_empty(config, "per_layer_config"))
    config.refuse("per_layer_config gives layers values of their own, which is not supported");
}

}  // namespace

const ModelFamily& read_family(const JsonObject& config) {
  if (quantises_weights(config))
    config.refuse(
        "quantization_config is there: quantised weights cannot be calibrated; take the "
        "model in float16 or bfloat16");
  const std::vector<std::string> names = config.texts("architectures");
  if (names.empty())
    config.refuse("architectures is missing; expected that of a causal language model");
  const ModelFamily& family = find_family(names.front(), config.origin());
  for (const std::string& name : names) {
    if (std::find(family.architectures.begin(), family.architectures.end(), name) ==
        family.architectures.end())
      config.refuse(concat("architectures names ", names.front(), " and ", name,
                           ": they disagree; leave in the one whose weights these are"));
  }
  const std::string type = config.text("model_type", family.model_type);
  if (type != family.model_type && !has_own_code(family))
    config.refuse(concat("model_type is '", type, "', and architectures names ", names.front(),
                         ", whose model_type is '", family.model_type, "': they disagree; mend ",
                         "the one that is wrong (transformers goes by model_type)"));
  return family;
}

std::optional<WeightType> stated_weight_type(const JsonObject& config) {
  std::string first;
  for (const char* const key : {"dtype", "torch_dtype"}) {
    if (!config.has(key)) continue;
    const std::string type = config.text(key, "");
    if (type != "bfloat16" && type != "float16" && type != "float32" && type != "auto")
      config.refuse(concat(key, " is '", type, "', expected bfloat16, float16 or float32"));
    if (!first.empty() && type != first)
      config.refuse(concat("dtype is '", first, "', and torch_dtype is '", type,
                           "': two names of one thing; take out the one that is wrong"));
    first = type;
  }
  if (first.empty() || first == "auto") return std::nullopt;
  return first == "bfloat16" ? WeightType::kBFloat16 : WeightType::kFloat16;
}

ModelConfig read_hugging_face_config(const JsonObject& config, const ModelFamily& family) {
  check_one_model(config, family);
  ModelConfig model;
  model.weight_type = stated_weight_type(config).value_or(WeightType::kFloat16);
  model.layers = positive(config, "num_hidden_layers", kMostLayers);
  model.hidden = positive(config, "hidden_size");
  model.heads = positive(config, "num_attention_heads", kMostHeads);
  const bool has_kv_heads = !family.kv_heads_key.empty() && config.has(family.kv_heads_key);
  model.kv_heads = has_kv_heads ? positive(config, family.kv_heads_key) : model.heads;
  model.vocab = positive(config, "vocab_size");
  model.intermediate = positive(config, "intermediate_size");
  if (model.intermediate % family.intermediate_divisor != 0)
    config.refuse(concat("intermediate_size = ", model.intermediate, ", expected a multiple of ",
                         family.intermediate_divisor));
  model.intermediate /= family.intermediate_divisor;
  check_rotates(config, family, model.hidden);
  model.head_dim = head_dim(config, family, model);
  if (model.heads % model.kv_heads != 0)
    config.refuse(concat("num_attention_heads = ", model.heads, " is not divisible by ",
                         family.kv_heads_key, " = ", model.kv_heads));
  check_activation(config);
  model.norm_eps = positive_number(config, family.norm_eps_key);
  model.attention_bias = family.qkv_bias || (!family.bias_key.empty() &&
                                             config.flag(family.bias_key, family.bias_by_default));
  model.query_key_norm = !family.query_norm.empty();
  if (model.query_key_norm && model.attention_bias)
    config.refuse(concat(family.bias_key, " is true, expected false: a bias of q and k that are ",
                         "normalised is not supported"));
  model.mlp_bias = !family.mlp_bias_key.empty() && config.flag(family.mlp_bias_key, false);
  model.sliding_window = read_sliding_window(config, family, model.layers);
  if (config.has(family.positions_key))
    model.max_position_embeddings = positive(config, family.positions_key);
  if (const nlohmann::json* start = config.find("bos_token_id");
      start && start->is_number_integer())
    model.start_id = start->get<int64_t>();
  read_rotation(config, family, model);
  check_model(model, keys_of(family), config.origin());
  return model;
}

}  // namespace kvcalib
