// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "calibrate/command/options.h"
#include "calibrate/engine/cache_format.h"
#include "calibrate/evaluate/measured.h"
#include "calibrate/runtimes/runtime.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// A cache to be tried.
struct TriedCache {
  StreamInfo info;
  CacheFormat format;
  int64_t ranks = 1;                 // that its layers are told by
  std::vector<KvScale> scales = {};  // [layers, ranks], where these are what the format is made of
};

// What an evaluation tries, the cache in 16 bits first.
struct TriedCaches {
  std::vector<TriedCache> caches;
  std::vector<std::filesystem::path> files;  // scale files and statistics that were read
  std::vector<std::string> notes;            // for whom reads the report
};

// Throws Error naming directory, layer and rank for scales that the runtime would not read as they
// are meant, and for statistics of other weights; UsageError for a format that there is not, or
// that needs statistics.
TriedCaches tried_caches(const EvaluateOptions& options, const WeightDirectory& weights,
                         const Runtime& runtime);

}  // namespace kvcalib
