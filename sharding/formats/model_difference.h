// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "sharding/formats/model_config.h"

namespace kvcalib {

// A value in which two models differ, as statistics files name and write it.
struct ModelDifference {
  std::string name, first, second;
};

// The first, its rotation apart, with which the same weights give prompts of `length` tokens other
// keys and values; none where there is no such.
std::optional<ModelDifference> find_difference(const ModelConfig& first, const ModelConfig& second,
                                               int64_t length);

}  // namespace kvcalib
