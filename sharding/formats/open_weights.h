// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>

#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// Opens a directory as what it is.  Throws Error when it is neither TurboMind's nor Hugging Face's,
// and what opening it throws.
std::unique_ptr<WeightDirectory> open_weights(const std::filesystem::path& directory);

}  // namespace kvcalib
