// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "calibrate/command/options.h"
#include "calibrate/data/windows.h"

namespace kvcalib {

// The windows asked for of these files; what is not said is as a file of token ids has it, or the
// default.  Throws Error when they are too many.
WindowRequest resolve_windows(const CalibrateOptions& options,
                              const std::vector<std::filesystem::path>& files);

// Where the results go, in words.
std::string place_of(const OutputOptions& output);

}  // namespace kvcalib
