// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "sharding/files/json_object.h"
#include "sharding/formats/model_family.h"
#include "sharding/formats/safetensors_index.h"

namespace kvcalib {

// What lies beside a model's files, or is named in them, and changes the model: what to know of it,
// a sentence each.  Throws Error for the weights of a LoRA adapter (adapter_model.*, or tensors
// lora_A and lora_B), which are not part of the model's own yet.
std::vector<std::string> check_surroundings(const std::filesystem::path& directory,
                                            const JsonObject& config, const ModelFamily& family,
                                            const SafetensorsIndex& index);

// Throws Error for a directory that holds an adapter and no model.
void refuse_lone_adapter(const std::filesystem::path& directory);

}  // namespace kvcalib
