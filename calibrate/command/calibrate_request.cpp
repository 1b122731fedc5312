// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/calibrate_request.h"

#include <optional>

namespace kvcalib {

WindowRequest resolve_windows(const CalibrateOptions& options,
                              const std::vector<std::filesystem::path>& files) {
  WindowRequest request;
  const std::optional<WindowShape> stored = stored_windows(files);
  if (stored && stored->samples > 0 && stored->length > 0) {  // else drawing says what is wrong
    request.samples = stored->samples;
    request.length = stored->length;
  }
  request.samples = options.samples.value_or(request.samples);
  request.length = options.length.value_or(request.length);
  request.seed = options.seed;
  request.pack = options.pack;
  check_windows(request);
  return request;
}

std::unique_ptr<CalibrationPass> start_pass(const WeightDirectory& directory,
                                            const PassWindows& windows, const RankRun& run) {
  const ModelConfig& config = directory.config();
  MemoryPlan plan = plan_memory(config, stored_layer_bytes(directory), windows.samples,
                                windows.length, run.communicator->size(), run.settings);
  if (windows.histograms)
    plan.histograms = histogram_bytes(config, windows.length, run.settings.device);
  check_device_memory(plan, run.settings.device);
  return std::make_unique<CalibrationPass>(directory, windows, run.settings, *run.communicator);
}

std::string place_of(const OutputOptions& output) {
  if (output.in_place) return "the weights directory";
  return output.output ? output.output->string() : "(no --output or --in-place given)";
}

}  // namespace kvcalib
