// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/runtimes/turbomind/release.h"

namespace kvcalib {

// Whether a runtime would load a directory's scales as meant.
struct VerifyReport {
  std::vector<std::string> faults;  // why it would not, a sentence each
  std::vector<std::string> notes;   // worth knowing
  int64_t layers = 0;               // of config.ini; 0: not readable
  int64_t serving_ranks = 0;
  int64_t scale_files = 0;  // found
  bool compared_with_statistics = false;

  bool good() const { return faults.empty(); }
};

// Checks names, number, sizes and values of the scale files, config.ini for that release, and that
// the scales are those of kv_stats.safetensors where that is present.  Weights may be absent (an
// output directory).  `serving_ranks`: tensor_para_size of config.ini when not given.  Throws Error
// only when `directory` is no readable directory.
VerifyReport verify_directory(const std::filesystem::path& directory, const RuntimeRelease& release,
                              std::optional<int64_t> serving_ranks);

}  // namespace kvcalib
