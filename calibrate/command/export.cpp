// SPDX-License-Identifier: Apache-2.0
#include <iostream>

#include "calibrate/command/commands.h"
#include "calibrate/command/statistics_match.h"
#include "calibrate/report/standard_output.h"
#include "calibrate/report/summary.h"
#include "calibrate/report/warnings.h"
#include "sharding/formats/open_weights.h"

namespace kvcalib {

int run_export(const ExportOptions& options) {
  const std::unique_ptr<OutputTransaction> output =
      open_output(options.output, options.scales.runtime.row(), options.weights);
  const std::unique_ptr<WeightDirectory> weights = open_weights(options.weights);
  const WeightDirectory& directory = *weights;
  const StatisticsFile statistics = read_statistics(options.statistics);
  check_same_model(statistics, options.statistics, directory);
  check_histograms(statistics, options.statistics, options.scales.method);
  const Target target = resolve_target(directory, options.scales, statistics.provenance.length);
  check_same_arithmetic(statistics, options.statistics, directory, options.scales.runtime.row(),
                        *target.runtime);
  warn(std::cerr, target.warnings);
  const Summary summary = summarise(
      make_delivery(directory, target, statistics,
                    output_path(options.output, directory.path()).string(), std::nullopt));
  warn(std::cerr, summary.delivery.clipped);
  write_delivery(*output, summary.delivery);
  output->after_commit([&] {
    warn(std::cerr, output->warnings());
    print(format_summary(summary));
  });
  return 0;
}

}  // namespace kvcalib
