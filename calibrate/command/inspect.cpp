// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/commands.h"
#include "calibrate/report/scale_table.h"
#include "calibrate/report/standard_output.h"
#include "calibrate/runtimes/runtime_table.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/json_writer.h"

namespace kvcalib {
namespace {

// Rows of a statistics file for the ranks that its weights were cut for and the model's sessions,
// by the method that is used unless another is asked for.
std::vector<ScaleRow> rows_of_statistics(const std::filesystem::path& path) {
  const StatisticsFile file = read_statistics(path);
  const ModelConfig& model = file.provenance.model;
  const KvStatistics served = RuntimeChoice{}
                                  .row()
                                  .open(file.provenance.runtime)
                                  ->served_ranges(file, model, model.session_length);
  return scale_rows(compute_scales(served, model.stored_ranks, ScaleOptions{}.method),
                    model.stored_ranks, &file.statistics);
}

// Rows of the scale files in a directory, with its statistics where it has them.
std::vector<ScaleRow> rows_of_directory(const std::filesystem::path& path) {
  const StoredScales set = RuntimeChoice{}.row().read_scales(path);
  const std::filesystem::path beside = path / kStatisticsFileName;
  if (kind_behind(beside) == FileKind::kNothing) return scale_rows(set.scales, set.ranks, nullptr);
  const StatisticsFile file = read_statistics(beside);
  const bool fits = file.statistics.layers * set.ranks == static_cast<int64_t>(set.scales.size()) &&
                    file.statistics.kv_heads % set.ranks == 0;
  return scale_rows(set.scales, set.ranks, fits ? &file.statistics : nullptr);
}

}  // namespace

int run_inspect(const InspectOptions& options) {
  const FileKind kind = kind_behind(options.path);
  if (kind == FileKind::kNothing)
    throw Error(concat(options.path.string(), ": does not exist; give a statistics file or a ",
                       "directory with scale files"));
  const std::vector<ScaleRow> rows = kind == FileKind::kDirectory
                                         ? rows_of_directory(options.path)
                                         : rows_of_statistics(options.path);
  const std::vector<std::string> outlying = outlying_rows(rows);
  if (options.json) {
    const nlohmann::ordered_json result = {
        {"path", options.path.string()}, {"scales", to_json(rows)}, {"outlying", outlying}};
    print(json_text(result));
    return 0;
  }
  std::string text = format_scale_table(rows);
  for (const std::string& sentence : outlying) text += concat("stands out: ", sentence, "\n");
  print(text);
  return 0;
}

}  // namespace kvcalib
