// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/target.h"

#include "calibrate/output/output_directory.h"
#include "calibrate/output/weights_transaction.h"
#include "sharding/files/error.h"

namespace kvcalib {

Target resolve_target(const ModelConfig& config, const ScaleOptions& options,
                      int64_t embedding_rows, int64_t length) {
  std::shared_ptr<const Runtime> runtime = find_runtime(kTurboMind).open(options.runtime);
  const int64_t ranks = options.serving_ranks.value_or(config.stored_ranks);
  const bool symmetric = options.symmetric || !runtime->holds_zero_points();
  std::vector<std::string> warnings =
      check_served(*runtime, {config, ranks, embedding_rows, length, !options.symmetric});
  return {std::move(runtime), ranks, symmetric ? ScaleMethod::kSymmetric : ScaleMethod::kAsymmetric,
          std::move(warnings)};
}

std::unique_ptr<OutputTransaction> open_output(const OutputOptions& options,
                                               const std::filesystem::path& weights) {
  if (options.in_place && is_hugging_face(weights))
    throw Error(concat("--in-place: ", weights.string(), " is a Hugging Face directory, and the ",
                       "runtime reads scales beside its own weights; give --output DIR, or make ",
                       "its weights with kvcalib shard first"));
  OutputNames names = delivery_names(find_runtime(kTurboMind));
  if (options.in_place)
    return std::make_unique<WeightsTransaction>(weights, std::move(names), options.force);
  return std::make_unique<OutputDirectory>(*options.output, options.force,
                                           foreign_to(std::move(names)));
}

void clear_output(const OutputOptions& options, const std::filesystem::path& weights) {
  if (options.in_place)
    WeightsTransaction::recover(weights, delivery_names(find_runtime(kTurboMind)));
  else
    open_output(options, weights);
}

std::vector<OutputFile> make_files(const WeightDirectory& directory, const Target& target,
                                   const std::vector<KvScale>& scales,
                                   const StatisticsFile& statistics) {
  std::vector<OutputFile> files =
      target.runtime->files({directory, statistics, scales, target.ranks});
  files.push_back(
      {kStatisticsFileName, to_safetensors(statistics.statistics, statistics.provenance)});
  return files;
}

}  // namespace kvcalib
