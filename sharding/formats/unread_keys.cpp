// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/unread_keys.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

using nlohmann::json;

constexpr const char* kOriginalPositions = "original_max_position_embeddings";  // only of llama3

// A key and the value with which it changes nothing.
struct Key {
  const char* name;
  json neutral;
};

// Those of the families here, with what they are in this model, and of others that come with the
// same tensors: Gemma 2, Granite, MiniCPM, OLMo, SmolLM3, Llama 4, ChatGLM, Qwen2.5-1M, gte-Qwen2.
std::vector<Key> arithmetic_keys(const ModelConfig& model) {
  return {{"use_dynamic_ntk", false},
          {"use_logn_attn", false},
          {"rotary_pct", 1.0},
          {"partial_rotary_factor", 1.0},
          {"rope_theta", model.rope_theta},
          {"rotary_emb_base", model.rope_theta},
          {"head_dim", model.head_dim},
          {"kv_channels", model.head_dim},
          {"num_key_value_heads", model.kv_heads},
          {"attn_logit_softcapping", nullptr},
          {"query_pre_attn_scalar", model.head_dim},
          {"embedding_multiplier", 1.0},
          {"attention_multiplier", nullptr},
          {"residual_multiplier", 1.0},
          {"scale_emb", 1.0},
          {"scale_depth", nullptr},
          {"clip_qkv", nullptr},
          {"use_qk_norm", false},
          {"qk_layernorm", false},
          {"no_rope_layers", nullptr},
          {"attention_chunk_size", nullptr},
          {"attn_temperature_tuning", false},
          {"rope_ratio", 1.0},
          {"dual_chunk_attention_config", nullptr},
          {"is_causal", true},
          {"alibi", false},
          {"per_layer_config", nullptr}};
}

bool is_default_rotation(const json& value) {
  if (!value.is_object()) return false;
  const json type = value.contains("rope_type") ? value["rope_type"] : value.value("type", json());
  return value.empty() || type == "default" || type == "none" || type == "origin";
}

// Whether a key says of the window what the model does.
bool is_window_of(const ModelConfig& model, const json& value) {
  const bool window = model.sliding_window > 0;
  if (value.is_boolean()) return value == window;
  if (value.is_number()) return value == model.sliding_window;
  return value.is_array() && std::all_of(value.begin(), value.end(), [&](const json& type) {
           return type == (window ? "sliding_attention" : "full_attention");
         });
}

}  // namespace

std::vector<std::string> unread_keys(const JsonObject& config, const ModelFamily& family,
                                     const ModelConfig& model) {
  std::vector<std::string> found;
  const auto tell = [&](const JsonObject& where, const char* key) {
    found.push_back(concat(where.origin(), ": ", key, " = ", where.shown(key), " is not read by ",
                           "the code of ", family.architectures.front(), ", and changes nothing; ",
                           "if it should, the model is of another family"));
  };
  const auto tell_unless = [&](const char* key, const auto& is_neutral) {
    const json* const value = reads(family, key) ? nullptr : config.find(key);
    if (value != nullptr && !is_neutral(*value)) tell(config, key);
  };
  for (const Key& key : arithmetic_keys(model))
    tell_unless(key.name, [&](const json& value) { return value == key.neutral; });
  for (const char* const key : {"rope_scaling", "rope_parameters", "rotary"})
    tell_unless(key, is_default_rotation);
  const json* const used = config.find("use_sliding_window");
  const bool ignored = used != nullptr && *used == false && model.sliding_window == 0;
  for (const char* const key : {"sliding_window", "use_sliding_window", "layer_types"}) {
    if (!ignored || std::string_view(key) == "layer_types")
      tell_unless(key, [&](const json& value) { return is_window_of(model, value); });
  }
  if (model.own_rotation && model.own_rotation->kind == RopeScaling::Kind::kLlama3) return found;
  const auto tell_positions = [&](const JsonObject& where) {
    const json* const positions = where.find(kOriginalPositions);
    if (positions != nullptr && *positions != model.max_position_embeddings)
      tell(where, kOriginalPositions);
  };
  tell_positions(config);
  for (const char* const key : {"rope_scaling", "rope_parameters"})
    if (reads(family, key)) tell_positions(config.object(key));
  return found;
}

}  // namespace kvcalib
