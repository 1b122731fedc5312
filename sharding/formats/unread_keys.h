// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "sharding/files/json_object.h"
#include "sharding/formats/model_config.h"
#include "sharding/formats/model_family.h"

namespace kvcalib {

// Keys of a config.json that change what other families compute, but are not read by the code of
// this one; a sentence each, for those with a value that would matter there.  `model`: as read.
std::vector<std::string> unread_keys(const JsonObject& config, const ModelFamily& family,
                                     const ModelConfig& model);

}  // namespace kvcalib
