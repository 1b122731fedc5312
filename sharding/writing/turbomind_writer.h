// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "sharding/formats/model_config.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// How TurboMind's weight files are to be cut.
struct TurboMindCut {
  int64_t ranks = 1;
  WeightType type = WeightType::kFloat16;
  int64_t table_rows = 0;      // of embedding and head on disk: the source's, then rows of zeros
  bool normalise_head = true;  // where the model brings the head's rows to length 1 on use
};

// A file that write_turbomind_weights writes.
struct TurboMindFile {
  std::string name;
  uint64_t bytes = 0;
};

// All of them: a model's embedding, head and norm, then layer by layer.
std::vector<TurboMindFile> turbomind_files(const ModelConfig& config, const TurboMindCut& cut);

struct WritingProgress {
  int64_t layers_done = 0;
  int64_t layers = 0;
  uint64_t bytes_written = 0;
  uint64_t bytes = 0;  // of all files
  double seconds = 0;
};

// Who looks on.
struct WritingObserver {
  std::function<void(const WritingProgress&)> progress;  // after each layer; may be empty
  std::function<bool()> stopped;  // asked often, from several threads: leave early; may be empty
};

// Writes the weight files of `source`, a directory of any kind, into an existing directory, as
// LMDeploy's converters would.  Holds two layers at a time and writes one while it reads the other.
// Throws Error naming a file that cannot be read or written or holds NaN or Inf, and when it was
// stopped.
void write_turbomind_weights(const WeightDirectory& source, const TurboMindCut& cut,
                             const std::filesystem::path& directory,
                             const WritingObserver& observer);

}  // namespace kvcalib
