// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/output/output_names.h"
#include "calibrate/runtimes/runtime.h"
#include "calibrate/runtimes/scale_exporter.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// A row of the table of runtimes.
struct RuntimeRow {
  std::string_view name;
  OutputNames (*file_names)();  // of what `files` makes, for any release
  // Of the embedding on disk, as a converter would cut a model whose weights are not there yet.
  int64_t (*converted_embedding_rows)(const ModelConfig& shape);
  // Of a directory, whatever the release.  Throws Error for what is no complete set.
  StoredScales (*read_scales)(const std::filesystem::path& directory);
  // Throws Error for what is no release of it with static scales, naming those known.
  std::unique_ptr<const Runtime> (*open)(std::string_view release);
};

inline constexpr std::string_view kTurboMind = "turbomind";

// Throws Error naming those there are.
const RuntimeRow& find_runtime(std::string_view name);

// Null for what is none of them, as a runtime.
const ScaleExporter* find_exporter(std::string_view name);

// All that files are made for: runtimes, then exporters.
std::vector<std::string> reader_names();

// What is asked for: a runtime and its release, with what they are unless others are named.
struct RuntimeChoice {
  std::string name{kTurboMind};
  std::string release = "0.3.0";

  // Both throw Error for what there is not.
  const RuntimeRow& row() const { return find_runtime(name); }
  std::unique_ptr<const Runtime> open() const { return row().open(release); }
};

// The names of a whole delivery: the runtime's files, statistics and summary.
OutputNames delivery_names(const RuntimeRow& runtime);

}  // namespace kvcalib
