// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>

#include "sharding/formats/model_config.h"

namespace kvcalib {

// A model as JSON, as statistics files hold it: what only some models have is left out for the
// others.  from_json throws nlohmann's exceptions for what is missing or of another type, and Error
// for a scaling that is not known.
void to_json(nlohmann::json& object, const ModelConfig& model);
void from_json(const nlohmann::json& object, ModelConfig& model);

// The keys of a model's dimensions.
inline constexpr std::array kDimensionKeys = {"layers",   "hidden",       "heads", "kv_heads",
                                              "head_dim", "intermediate", "vocab"};

}  // namespace kvcalib
