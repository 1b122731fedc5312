// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "calibrate/runtimes/runtime.h"
#include "calibrate/runtimes/turbomind/scale_files.h"

namespace kvcalib {

// The bytes of scale files that a release would read: of the right size, and in the set.
using ScaleFiles = std::map<ScaleFileId, std::string>;

// Where scale files lie and who will read them.
struct ScaleFilePlace {
  const std::filesystem::path& directory;
  const std::vector<std::string>& names;  // in it, sorted
  const TurboMindRelease& release;
  bool knows_model;  // else the report's layers and ranks mean nothing
};

// Checks names, number, sizes and values against layers and serving ranks of the report, to which
// it adds what it finds.
ScaleFiles check_scale_files(const ScaleFilePlace& place, VerifyReport& report);

}  // namespace kvcalib
