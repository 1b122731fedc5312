// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/preset.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "sharding/files/error.h"
#include "sharding/formats/model_config_json.h"

namespace kvcalib {
namespace {

void check_shape(const ModelConfig& config, const std::filesystem::path& file) {
  if (config.layers <= 0 || config.hidden <= 0 || config.heads <= 0 || config.head_dim <= 0 ||
      config.kv_heads <= 0 || config.intermediate <= 0 || config.vocab <= 0 ||
      config.stored_ranks <= 0 || config.sliding_window < 0)
    throw Error(concat(file.string(), ": all numbers must be positive"));
  if (config.heads % config.kv_heads != 0)
    throw Error(concat(file.string(), ": heads = ", config.heads,
                       " is not divisible by kv_heads = ", config.kv_heads));
  if (config.head_dim % 2 != 0 || config.head_dim > 256)
    throw Error(concat(file.string(), ": head_dim = ", config.head_dim,
                       ", expected an even number up to 256"));
}

}  // namespace

ModelConfig read_preset(const std::filesystem::path& file) {
  std::ifstream stream(file);
  if (!stream) throw Error(concat(file.string(), ": cannot be opened"));
  try {
    const nlohmann::json preset = nlohmann::json::parse(stream);
    const std::string type = preset.at("weight_type");
    if (type != "fp16" && type != "bf16")
      throw Error(concat(file.string(), ": weight_type is '", type, "', expected fp16 or bf16"));
    nlohmann::json model = ModelConfig();
    for (const char* key : kDimensionKeys) model[key] = preset.at(key);
    for (const char* key : {"norm_eps", "rope_theta", "attention_bias", "max_position_embeddings"})
      model[key] = preset.at(key);
    model["stored_ranks"] = preset.at("tensor_para_size");
    for (const char* key : {"query_key_norm", "sliding_window"})
      if (preset.contains(key)) model[key] = preset[key];
    ModelConfig config = model.get<ModelConfig>();
    config.weight_type = type == "bf16" ? WeightType::kBFloat16 : WeightType::kFloat16;
    check_shape(config, file);
    return config;
  } catch (const nlohmann::json::exception& failure) {
    throw Error(concat(file.string(), ": ", failure.what(), "; expected a preset as in configs/"));
  }
}

}  // namespace kvcalib
