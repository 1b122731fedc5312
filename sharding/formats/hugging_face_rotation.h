// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sharding/files/json_object.h"
#include "sharding/formats/model_config.h"
#include "sharding/formats/model_family.h"

namespace kvcalib {

// Sets how the model rotates: rope_theta, own_rotation and use_logn_attention, from where the
// family's code reads them.  transformers takes rope_scaling, and only without it rope_parameters,
// and a rope_theta in there before the one beside it (modeling_rope_utils.py,
// convert_rope_params_to_dict).  Throws Error naming both places where two of them disagree, and
// for partial rotation and ways to scale that are not supported.
void read_rotation(const JsonObject& config, const ModelFamily& family, ModelConfig& model);

}  // namespace kvcalib
