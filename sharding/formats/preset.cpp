// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/preset.h"

#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"
#include "sharding/files/json_object.h"
#include "sharding/formats/model_bounds.h"

namespace kvcalib {
namespace {

WeightType read_weight_type(const JsonObject& preset) {
  const std::string type = preset.text("weight_type");
  if (type == "fp16") return WeightType::kFloat16;
  if (type == "bf16") return WeightType::kBFloat16;
  preset.refuse(concat("weight_type is '", excerpt(type), "', expected fp16 or bf16"));
}

}  // namespace

ModelConfig read_preset(const std::filesystem::path& file) {
  const JsonObject preset = JsonObject::read(file);
  ModelConfig model;
  try {
    model.layers = preset.integer("layers");
    model.hidden = preset.integer("hidden");
    model.heads = preset.integer("heads");
    model.kv_heads = preset.integer("kv_heads");
    model.head_dim = preset.integer("head_dim");
    model.intermediate = preset.integer("intermediate");
    model.vocab = preset.integer("vocab");
    model.stored_ranks = preset.integer("tensor_para_size");
    model.weight_type = read_weight_type(preset);
    model.norm_eps = preset.number("norm_eps");
    model.rope_theta = preset.number("rope_theta");
    model.attention_bias = preset.flag("attention_bias");
    model.max_position_embeddings = preset.integer("max_position_embeddings");
    model.query_key_norm = preset.flag("query_key_norm", false);
    model.sliding_window = preset.integer("sliding_window", 0);
    check_model(model, {.stored_ranks = "tensor_para_size"}, file.string());
  } catch (const Error& failure) {
    throw Error(concat(failure.what(), "; expected a preset as in configs/"));
  }
  return model;
}

}  // namespace kvcalib
