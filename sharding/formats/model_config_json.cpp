// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/model_config_json.h"

#include <nlohmann/json.hpp>

#include "sharding/files/error.h"

namespace kvcalib {

NLOHMANN_JSON_SERIALIZE_ENUM(WeightType, {{WeightType::kFloat16, name(WeightType::kFloat16)},
                                          {WeightType::kBFloat16, name(WeightType::kBFloat16)}})
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RopeScaling, kind, factor, low_frequency_factor,
                                   high_frequency_factor, original_positions)

namespace {

// What is written of every model.
struct EveryModel : ModelConfig {};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(EveryModel, layers, hidden, heads, kv_heads, head_dim,
                                   intermediate, vocab, stored_ranks, weight_type, attention_bias,
                                   norm_eps, rope_theta, rope_scaling_factor, use_dynamic_ntk,
                                   use_logn_attention, max_position_embeddings, session_length)

}  // namespace

void to_json(nlohmann::json& object, const ModelConfig& model) {
  object = EveryModel{model};
  if (model.mlp_bias) object["mlp_bias"] = true;
  if (model.query_key_norm) object["query_key_norm"] = true;
  if (model.sliding_window > 0) object["sliding_window"] = model.sliding_window;
  if (model.own_rotation) object["own_rotation"] = *model.own_rotation;
}

void from_json(const nlohmann::json& object, ModelConfig& model) {
  model = object.get<EveryModel>();
  model.mlp_bias = object.value("mlp_bias", false);
  model.query_key_norm = object.value("query_key_norm", false);
  model.sliding_window = object.value("sliding_window", int64_t{0});
  if (!object.contains("own_rotation")) return;
  model.own_rotation = object["own_rotation"].get<RopeScaling>();
  const int kind = static_cast<int>(model.own_rotation->kind);
  if (kind < 0 || kind > static_cast<int>(RopeScaling::Kind::kQwen))
    throw Error(concat("own_rotation: kind ", kind, " is unknown"));
}

}  // namespace kvcalib
