// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/model_difference.h"

#include <nlohmann/json.hpp>

namespace kvcalib {
namespace {

template <typename Value>
std::optional<ModelDifference> compare(const char* name, Value first, Value second) {
  if (first == second) return std::nullopt;
  return ModelDifference{name, nlohmann::json(first).dump(), nlohmann::json(second).dump()};
}

}  // namespace

std::optional<ModelDifference> find_difference(const ModelConfig& first, const ModelConfig& second,
                                               int64_t length) {
  std::optional<ModelDifference> found = compare("norm_eps", first.norm_eps, second.norm_eps);
  if (!found) found = compare("attention_bias", first.attention_bias, second.attention_bias);
  if (!found) found = compare("mlp_bias", first.mlp_bias, second.mlp_bias);
  if (!found) found = compare("query_key_norm", first.query_key_norm, second.query_key_norm);
  if (!found && effective_window(first, length) != effective_window(second, length))
    found = compare("sliding_window", first.sliding_window, second.sliding_window);
  return found;
}

}  // namespace kvcalib
