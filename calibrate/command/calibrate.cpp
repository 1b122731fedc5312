// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/calibrate_request.h"
#include "calibrate/command/commands.h"
#include "calibrate/command/devices.h"
#include "calibrate/command/first_rank.h"
#include "calibrate/command/plan.h"
#include "calibrate/command/planned_model.h"
#include "calibrate/command/rank_messages.h"
#include "calibrate/command/rank_run.h"
#include "calibrate/command/run_on_ranks.h"
#include "calibrate/report/standard_output.h"
#include "sharding/files/error.h"
#include "sharding/files/unchanged_files.h"
#include "sharding/formats/open_weights.h"
#include "sharding/formats/weight_files.h"

namespace kvcalib {
namespace {

int dry_run(const CalibrateOptions& options, const DeviceList& devices, int64_t ranks) {
  const PlannedModel model = planned_model(options.weights);
  const WindowRequest windows = resolve_windows(options, expand_data_paths(options.data));
  const Target target =
      model.directory != nullptr
          ? resolve_target(*model.directory, options.scales, windows.length)
          : resolve_target(model.config, options.scales,
                           options.scales.runtime.row().converted_embedding_rows(model.config),
                           windows.length);
  const CalibrationPlan plan{model.config,
                             model.layer_bytes,
                             target,
                             windows,
                             devices,
                             ranks,
                             options.micro_batch_tokens,
                             place_of(options.output),
                             options.histograms};
  print(options.json ? plan_json(plan) : format_plan(plan));
  return 0;
}

int run_further_rank(const CalibrateOptions& options, const Rank& rank, const c10::Device& device) {
  Trace trace(device);
  Trace* const tracing = options.trace ? &trace : nullptr;
  Rendezvous rendezvous(rank);
  const WindowShape shape = receive_shape(rendezvous);  // sent when all is checked
  const std::unique_ptr<WeightDirectory> directory = open_weights(options.weights);
  UnchangedFiles weights;
  weights.add(weight_files(*directory));
  const Rotation rotation =
      options.scales.runtime.open()->rotation(directory->config(), shape.length);
  const RankRun run = join_ranks({rank, device, options.micro_batch_tokens, tracing}, rendezvous);
  const std::unique_ptr<CalibrationPass> pass =
      start_pass(*directory, {rotation, shape.samples, shape.length, options.histograms}, run);
  pass->run(receive_ids(rendezvous), [&](const PassProgress& progress) {
    if (progress.layers_done == progress.layers) weights.check();  // before the ranks are through
  });
  if (tracing != nullptr) send_trace(rendezvous, rank.index, trace.events(rank.index));
  rendezvous.peers().finish();
  return 0;
}

// A rank that was killed cannot take back what it had begun to write; opening its place again does.
void clear_leftovers(const CalibrateOptions& options) {
  try {
    clear_output(options.output, options.scales.readers, options.weights);
  } catch (const Error&) {
    // The place is not ours to write, which the rank has said already.
  }
}

}  // namespace

int run_calibrate(const CalibrateOptions& options, const std::vector<std::string>& arguments) {
  const Rank rank = rank_from_environment();
  const DeviceList devices = choose_devices(options.devices, options.dry_run);
  if (options.dry_run && rank.index > 0) return 0;
  if (options.dry_run)
    return dry_run(options, devices, rank.launched ? rank.world : devices.ranks());
  if (names_preset(options.weights))
    throw UsageError(concat("--weights ", options.weights.string(), ": a preset has no weights; ",
                            "it can only be planned for, with --dry-run"));
  return run_on_ranks(rank, devices, arguments,
                      {.first =
                           [&](const Rank& first, const c10::Device& device) {
                             return run_first_rank(options, first, devices, device);
                           },
                       .further =
                           [&](const Rank& further, const c10::Device& device) {
                             return run_further_rank(options, further, device);
                           },
                       .clear_leftovers = [&] { clear_leftovers(options); }});
}

}  // namespace kvcalib
