// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/exported_directory.h"

#include "calibrate/runtimes/checkpoint.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/formats/model_bounds.h"

namespace kvcalib {

bool ExportedDirectory::has(std::string_view file) const {
  return kind_behind(path / file) != FileKind::kNothing;
}

ExportedDirectory look_at_export(const std::filesystem::path& directory,
                                 std::optional<int64_t> serving_ranks, VerifyReport& report) {
  if (kind_behind(directory) != FileKind::kDirectory)
    throw Error(concat(directory.string(),
                       ": no directory; expected one that kvcalib export --for ",
                       "has written, or the checkpoint that its files were laid into"));
  ExportedDirectory found;
  found.path = directory;
  found.serving_ranks = serving_ranks;
  try {
    if (found.has(kStatisticsFileName)) {
      found.statistics = read_statistics(directory / kStatisticsFileName);
      found.layers = found.statistics->statistics.layers;
    } else {
      report.notes.push_back(concat("no ", kStatisticsFileName, " here: scales that are those of ",
                                    "other layers, of K instead of V or reciprocal are not seen"));
    }
  } catch (const Error& failure) {
    report.faults.emplace_back(failure.what());
  }
  try {
    if (found.has(kCheckpointConfig)) {
      found.config = JsonObject::read(directory / kCheckpointConfig);
      const int64_t layers = found.config->integer("num_hidden_layers", found.layers);
      if (layers < 0 || layers > kMostLayers)
        found.config->refuse(concat("num_hidden_layers = ", layers, ": no model has so many"));
      if (found.layers > 0 && layers != found.layers)
        report.faults.push_back(concat(kCheckpointConfig, ": num_hidden_layers = ", layers,
                                       ", but ", kStatisticsFileName, " is of ", found.layers,
                                       " layers: export with the statistics of this model"));
      found.layers = layers;
    }
  } catch (const Error& failure) {
    report.faults.emplace_back(failure.what());
  }
  return found;
}

}  // namespace kvcalib
