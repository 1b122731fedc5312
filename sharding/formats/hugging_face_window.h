// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "sharding/files/json_object.h"
#include "sharding/formats/model_family.h"

namespace kvcalib {

// The sliding window that all `layers` layers attend through, as the family's configuration_*.py
// and modeling_*.py of transformers have it; 0: none do.  Throws Error for a window of some layers
// only, and naming both where two keys disagree.
int64_t read_sliding_window(const JsonObject& config, const ModelFamily& family, int64_t layers);

}  // namespace kvcalib
