// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "calibrate/command/commands.h"
#include "calibrate/report/standard_output.h"
#include "calibrate/report/summary.h"
#include "calibrate/report/warnings.h"
#include "sharding/files/error.h"
#include "sharding/formats/fingerprint.h"
#include "sharding/formats/model_difference.h"
#include "sharding/formats/open_weights.h"

namespace kvcalib {
namespace {

void check_same_model(const StatisticsFile& statistics, const ExportOptions& options,
                      const WeightDirectory& directory) {
  const std::string fingerprint = weights_fingerprint(directory);
  if (statistics.provenance.weights_fingerprint == fingerprint) return;
  throw Error(concat(options.statistics.string(), ": was taken from other weights (fingerprint ",
                     statistics.provenance.weights_fingerprint.substr(0, 16), ", ",
                     options.weights.string(), " has ", fingerprint.substr(0, 16),
                     "); give the weights it belongs to, or calibrate these"));
}

// K depends on how a release rotates it: statistics of one serve another only where both rotate
// alike, and where the model is still read as it was.
void check_same_arithmetic(const StatisticsFile& statistics, const ExportOptions& options,
                           const WeightDirectory& directory, const Runtime& runtime) {
  const Provenance& provenance = statistics.provenance;
  const auto observed = options.scales.runtime.row().open(provenance.runtime);
  const ModelConfig& config = directory.config();
  if (observed->rotation(provenance.model, provenance.length) !=
      runtime.rotation(config, provenance.length))
    throw Error(concat(options.statistics.string(), ": was taken as ", observed->release(),
                       " rotates K; ", runtime.release(),
                       " rotates this model's otherwise (its keys of rope, NTK and logn); ",
                       "calibrate with --runtime ", runtime.release()));
  if (const auto other = find_difference(provenance.model, config, provenance.length))
    throw Error(concat(options.statistics.string(), ": was taken with ", other->name, " = ",
                       other->first, ", and the model in ", options.weights.string(), " has ",
                       other->second, "; calibrate it again, or give the model as it was"));
}

}  // namespace

int run_export(const ExportOptions& options) {
  const std::unique_ptr<OutputTransaction> output =
      open_output(options.output, options.scales.runtime.row(), options.weights);
  const std::unique_ptr<WeightDirectory> weights = open_weights(options.weights);
  const WeightDirectory& directory = *weights;
  const StatisticsFile statistics = read_statistics(options.statistics);
  check_same_model(statistics, options, directory);
  const Target target = resolve_target(directory, options.scales, statistics.provenance.length);
  check_same_arithmetic(statistics, options, directory, *target.runtime);
  warn(std::cerr, target.warnings);
  const Summary summary = summarise(
      make_delivery(directory, target, statistics,
                    output_path(options.output, directory.path()).string(), std::nullopt));
  write_delivery(*output, summary.delivery);
  output->after_commit([&] {
    warn(std::cerr, output->warnings());
    print(format_summary(summary));
  });
  return 0;
}

}  // namespace kvcalib
