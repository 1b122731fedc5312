// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>

#include "sharding/files/json_object.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// A model as JSON, as statistics files hold it: what only some models have is left out for the
// others.
void to_json(nlohmann::json& object, const ModelConfig& model);
// Throws Error naming the object and the key that is missing, of another type, or beyond the bounds
// of check_model.
ModelConfig read_model(const JsonObject& object);

// The keys of a model's dimensions.
inline constexpr std::array kDimensionKeys = {"layers",   "hidden",       "heads", "kv_heads",
                                              "head_dim", "intermediate", "vocab"};

}  // namespace kvcalib
