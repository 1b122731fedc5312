// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/runtimes/runtime.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/files/json_object.h"

namespace kvcalib {

// A directory with files that were made for a program that only reads scales: as they were
// delivered, or laid into the checkpoint.
struct ExportedDirectory {
  std::filesystem::path path;
  std::optional<StatisticsFile> statistics;  // where they lie beside
  std::optional<JsonObject> summary;         // summary.json of a delivery, where it lies beside
  std::optional<JsonObject> config;          // config.json, where it lies beside
  std::optional<int64_t> serving_ranks;      // as asked for, or as the summary says

  // Of the model, by these three; 0: not known.
  int64_t layers = 0, kv_heads = 0, head_dim = 0;

  // Also where a link leads nowhere.
  bool has(std::string_view file) const;
};

// Faults and notes of what lies beside go to `report`.  Throws Error when `directory` is no
// readable directory.
ExportedDirectory look_at_export(const std::filesystem::path& directory,
                                 std::optional<int64_t> serving_ranks, VerifyReport& report);

}  // namespace kvcalib
