// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "calibrate/command/commands.h"
#include "calibrate/command/summary.h"
#include "calibrate/command/target.h"
#include "calibrate/report/scale_table.h"
#include "sharding/formats/error.h"
#include "sharding/formats/fingerprint.h"

namespace kvcalib {
namespace {

void check_same_model(const StatisticsFile& statistics, const ExportOptions& options,
                      const TurboMindDirectory& directory) {
  const std::string fingerprint = weights_fingerprint(directory);
  if (statistics.provenance.weights_fingerprint == fingerprint) return;
  throw Error(concat(options.statistics.string(), ": was taken from other weights (fingerprint ",
                     statistics.provenance.weights_fingerprint.substr(0, 16), ", ",
                     options.weights.string(), " has ", fingerprint.substr(0, 16),
                     "); give the weights it belongs to, or calibrate these"));
}

}  // namespace

int run_export(const ExportOptions& options) {
  const std::unique_ptr<OutputTransaction> output = open_output(options.output, options.weights);
  const TurboMindDirectory directory = TurboMindDirectory::open(options.weights);
  const StatisticsFile statistics = read_statistics(options.statistics);
  check_same_model(statistics, options, directory);
  const Target target =
      resolve_target(directory.config(), options.scales, directory.embedding_rows());
  warn(target.warnings);
  const Summary summary =
      deliver(*output, options.output, directory, target, statistics, std::nullopt);
  std::cout << format_summary(summary);
  return 0;
}

}  // namespace kvcalib
