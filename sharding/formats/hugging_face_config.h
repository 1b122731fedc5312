// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "sharding/files/json_object.h"
#include "sharding/formats/model_config.h"
#include "sharding/formats/model_family.h"

namespace kvcalib {

// The family of the model that a Hugging Face config.json describes.  Throws Error for an
// architecture that is not known and for quantised weights.
const ModelFamily& read_family(const JsonObject& config);

// The model itself; it rotates by its own rules.  Throws Error naming the key that is missing,
// malformed or contradicts another, or that asks for what is not supported: partial rotation, other
// ways to scale it, activations other than SiLU, a sliding window in some layers only.
ModelConfig read_hugging_face_config(const JsonObject& config, const ModelFamily& family);

// The 16-bit type that the config states: bfloat16, or float16, also for float32.
std::optional<WeightType> stated_weight_type(const JsonObject& config);

}  // namespace kvcalib
