// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/model_config_json.h"

#include <nlohmann/json.hpp>

#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"
#include "sharding/formats/model_bounds.h"

namespace kvcalib {
namespace {

// A number of every model, by its key.
template <typename Number>
struct Field {
  const char* key;
  Number ModelConfig::*number;
};
constexpr Field<int64_t> kWhole[] = {
    {"layers", &ModelConfig::layers},
    {"hidden", &ModelConfig::hidden},
    {"heads", &ModelConfig::heads},
    {"kv_heads", &ModelConfig::kv_heads},
    {"head_dim", &ModelConfig::head_dim},
    {"intermediate", &ModelConfig::intermediate},
    {"vocab", &ModelConfig::vocab},
    {"stored_ranks", &ModelConfig::stored_ranks},
    {"max_position_embeddings", &ModelConfig::max_position_embeddings},
    {"session_length", &ModelConfig::session_length}};
constexpr Field<double> kNumbers[] = {{"norm_eps", &ModelConfig::norm_eps},
                                      {"rope_theta", &ModelConfig::rope_theta},
                                      {"rope_scaling_factor", &ModelConfig::rope_scaling_factor}};
constexpr Field<bool> kFlags[] = {{"attention_bias", &ModelConfig::attention_bias},
                                  {"use_dynamic_ntk", &ModelConfig::use_dynamic_ntk},
                                  {"use_logn_attention", &ModelConfig::use_logn_attention}};

WeightType read_weight_type(const JsonObject& object) {
  const std::string type = object.text("weight_type");
  for (const WeightType known : {WeightType::kFloat16, WeightType::kBFloat16})
    if (type == name(known)) return known;
  object.refuse(concat("weight_type = ", excerpt(type), ", expected float16 or bfloat16"));
}

RopeScaling read_scaling(const JsonObject& object) {
  const int64_t kind = object.integer("kind");
  if (kind < 0 || kind > static_cast<int64_t>(RopeScaling::Kind::kQwen))
    object.refuse(concat("kind ", kind, " is unknown"));
  return {static_cast<RopeScaling::Kind>(kind), object.number("factor"),
          object.number("low_frequency_factor"), object.number("high_frequency_factor"),
          object.integer("original_positions")};
}

}  // namespace

void to_json(nlohmann::json& object, const ModelConfig& model) {
  object = nlohmann::json::object();
  for (const auto& [key, number] : kWhole) object[key] = model.*number;
  for (const auto& [key, number] : kNumbers) object[key] = model.*number;
  for (const auto& [key, flag] : kFlags) object[key] = model.*flag;
  object["weight_type"] = name(model.weight_type);
  if (model.mlp_bias) object["mlp_bias"] = true;
  if (model.query_key_norm) object["query_key_norm"] = true;
  if (model.sliding_window > 0) object["sliding_window"] = model.sliding_window;
  if (!model.own_rotation) return;
  const RopeScaling& scaling = *model.own_rotation;
  object["own_rotation"] = {{"kind", static_cast<int>(scaling.kind)},
                            {"factor", scaling.factor},
                            {"low_frequency_factor", scaling.low_frequency_factor},
                            {"high_frequency_factor", scaling.high_frequency_factor},
                            {"original_positions", scaling.original_positions}};
}

ModelConfig read_model(const JsonObject& object) {
  ModelConfig model;
  for (const auto& [key, number] : kWhole) model.*number = object.integer(key);
  for (const auto& [key, number] : kNumbers) model.*number = object.number(key);
  for (const auto& [key, flag] : kFlags) model.*flag = object.flag(key);
  model.weight_type = read_weight_type(object);
  model.mlp_bias = object.flag("mlp_bias", false);
  model.query_key_norm = object.flag("query_key_norm", false);
  model.sliding_window = object.integer("sliding_window", 0);
  if (object.has("own_rotation")) model.own_rotation = read_scaling(object.object("own_rotation"));
  check_model(model, {}, object.origin());
  return model;
}

}  // namespace kvcalib
