// SPDX-License-Identifier: Apache-2.0
#include <iostream>
#include <utility>

#include "calibrate/command/commands.h"
#include "calibrate/command/statistics_match.h"
#include "calibrate/report/delivered.h"
#include "calibrate/report/standard_output.h"
#include "calibrate/report/warnings.h"
#include "sharding/formats/open_weights.h"

namespace kvcalib {

int run_export(const ExportOptions& options) {
  const std::unique_ptr<OutputTransaction> output =
      open_output(options.output, options.scales.readers, options.weights);
  const std::unique_ptr<WeightDirectory> weights = open_weights(options.weights);
  const WeightDirectory& directory = *weights;
  StatisticsFile statistics = read_statistics(options.statistics);
  check_same_model(statistics, options.statistics, directory);
  check_histograms(statistics, options.statistics, options.scales.method);
  Target target = resolve_target(directory, options.scales, statistics.provenance.length);
  for (std::string& warning :
       session_warnings(statistics, options.statistics, target.session_length))
    target.warnings.push_back(std::move(warning));
  if (target.serves(options.scales.runtime.name))
    check_same_arithmetic(statistics, options.statistics, directory, options.scales.runtime.row(),
                          *target.runtime);
  if (target.readers.size() > 1 || !target.serves(options.scales.runtime.name))
    check_own_arithmetic(statistics, options.statistics, directory, options.scales.runtime.row());
  warn(std::cerr, target.warnings);
  const Delivered delivered =
      deliver(directory, target, std::move(statistics),
              output_path(options.output, directory.path()).string(), std::nullopt, *output);
  output->after_commit([&] {
    if (delivered.summary) warn(std::cerr, delivered.summary->delivery.clipped);
    warn(std::cerr, output->warnings());
    print(format_delivered(delivered));
  });
  return 0;
}

}  // namespace kvcalib
