// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/target.h"

#include "calibrate/output/output_directory.h"
#include "calibrate/output/unified_diff.h"
#include "calibrate/output/weights_transaction.h"
#include "sharding/formats/error.h"

namespace kvcalib {

Target resolve_target(const ModelConfig& config, const ScaleOptions& options,
                      int64_t embedding_rows) {
  const RuntimeRelease release = RuntimeRelease::parse(options.runtime);
  const int64_t ranks = options.serving_ranks.value_or(config.stored_ranks);
  const bool two_values = release.scale_values() == 2;
  Target target{
      release, ranks,
      options.symmetric || two_values ? ScaleMethod::kSymmetric : ScaleMethod::kAsymmetric,
      check_runtime(config, release, ranks, embedding_rows)};
  if (two_values && !options.symmetric)
    target.warnings.push_back(
        concat(release.name(), " knows only symmetric scales: zero points are 0"));
  return target;
}

std::unique_ptr<OutputTransaction> open_output(const OutputOptions& options,
                                               const std::filesystem::path& weights) {
  if (options.in_place) return std::make_unique<WeightsTransaction>(weights, options.force);
  return std::make_unique<OutputDirectory>(*options.output, options.force);
}

std::vector<OutputFile> make_files(const TurboMindDirectory& directory, const Target& target,
                                   const std::vector<KvScale>& scales,
                                   const StatisticsFile& statistics) {
  std::vector<OutputFile> files = scale_files(scales, target.ranks, target.release);
  const IniFile& config = directory.config_file();
  const IniFile patched = patch_config(config, target.release);
  files.push_back({"config.ini", patched.text()});
  if (patched.text() != config.text())
    files.push_back({"config.patch",
                     unified_diff(config.text(), patched.text(), "a/config.ini", "b/config.ini")});
  files.push_back(
      {kStatisticsFileName, to_safetensors(statistics.statistics, statistics.provenance)});
  return files;
}

}  // namespace kvcalib
