// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/preset.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "sharding/files/error.h"

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
    ModelConfig config;
    const std::string type = preset.at("weight_type");
    if (type != "fp16" && type != "bf16")
      throw Error(concat(file.string(), ": weight_type is '", type, "', expected fp16 or bf16"));
    config.weight_type = type == "bf16" ? WeightType::kBFloat16 : WeightType::kFloat16;
    preset.at("layers").get_to(config.layers);
    preset.at("hidden").get_to(config.hidden);
    preset.at("heads").get_to(config.heads);
    preset.at("kv_heads").get_to(config.kv_heads);
    preset.at("head_dim").get_to(config.head_dim);
    preset.at("intermediate").get_to(config.intermediate);
    preset.at("vocab").get_to(config.vocab);
    preset.at("norm_eps").get_to(config.norm_eps);
    preset.at("rope_theta").get_to(config.rope_theta);
    preset.at("attention_bias").get_to(config.attention_bias);
    preset.at("max_position_embeddings").get_to(config.max_position_embeddings);
    preset.at("tensor_para_size").get_to(config.stored_ranks);
    config.query_key_norm = preset.value("query_key_norm", false);
    config.sliding_window = preset.value("sliding_window", int64_t{0});
    check_shape(config, file);
    return config;
  } catch (const nlohmann::json::exception& failure) {
    throw Error(concat(file.string(), ": ", failure.what(), "; expected a preset as in configs/"));
  }
}

}  // namespace kvcalib
