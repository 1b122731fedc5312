// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>

#include <chrono>
#include <future>
#include <iostream>

#include "calibrate/command/commands.h"
#include "calibrate/command/devices.h"
#include "calibrate/command/plan.h"
#include "calibrate/command/rank_messages.h"
#include "calibrate/command/rank_run.h"
#include "calibrate/command/trace_file.h"
#include "calibrate/data/tokenizer.h"
#include "calibrate/data/windows.h"
#include "calibrate/delivery/program_version.h"
#include "calibrate/delivery/summary.h"
#include "calibrate/report/progress.h"
#include "calibrate/report/warnings.h"
#include "sharding/files/error.h"
#include "sharding/files/file_bytes.h"
#include "sharding/files/seconds_since.h"
#include "sharding/files/sha256.h"
#include "sharding/formats/fingerprint.h"
#include "sharding/formats/preset.h"
#include "sharding/ranks/launcher.h"
#include "sharding/ranks/nccl_log.h"
#include "sharding/streaming/device.h"

namespace kvcalib {
namespace {

using Clock = std::chrono::steady_clock;

bool is_preset(const std::filesystem::path& path) { return path.extension() == ".json"; }

// The windows asked for; what is not said is as a file of token ids has it, or the default.
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
  return request;
}

std::string place_of(const OutputOptions& output) {
  if (output.in_place) return "the weights directory";
  return output.output ? output.output->string() : "(no --output or --in-place given)";
}

int dry_run(const CalibrateOptions& options, const DeviceList& devices, int64_t ranks) {
  ModelConfig config;
  int64_t embedding_rows = 0;
  uint64_t layer_bytes = 0;
  if (is_preset(options.weights)) {
    config = read_preset(options.weights);
    embedding_rows = served_embedding_rows(config);
    layer_bytes = stored_layer_bytes(config);
  } else {
    const std::unique_ptr<WeightDirectory> directory = open_weights(options.weights);
    config = directory->config();
    embedding_rows = served_embedding_rows(*directory);
    layer_bytes = stored_layer_bytes(*directory);
  }
  const WindowRequest windows = resolve_windows(options, expand_data_paths(options.data));
  const Target target = resolve_target(config, options.scales, embedding_rows, windows.length);
  const CalibrationPlan plan{config,
                             layer_bytes,
                             target,
                             windows,
                             devices,
                             ranks,
                             options.micro_batch_tokens,
                             place_of(options.output)};
  std::cout << (options.json ? plan_json(plan) : format_plan(plan));
  return 0;
}

uint64_t peak_host_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

int run_further_rank(const CalibrateOptions& options, const Rank& rank, const c10::Device& device) {
  Trace trace(device);
  Trace* const tracing = options.trace ? &trace : nullptr;
  Rendezvous rendezvous(rank);
  const WindowShape shape = receive_shape(rendezvous);  // sent when all is checked
  const std::unique_ptr<WeightDirectory> directory = open_weights(options.weights);
  const PassWindows windows{find_runtime(kTurboMind)
                                .open(options.scales.runtime)
                                ->rotation(directory->config(), shape.length),
                            shape.samples, shape.length};
  const std::unique_ptr<Communicator> communicator = join_ranks(rank, device, rendezvous);
  const PassSettings settings =
      pass_settings(device, options.micro_batch_tokens, rank.world, tracing);
  check_memory(*directory, windows, settings, rank.world);
  CalibrationPass pass(*directory, windows, settings, *communicator);
  pass.run(receive_ids(rendezvous), {});
  if (tracing != nullptr) send_trace(rendezvous, rank.index, trace.events(rank.index));
  rendezvous.peers().finish();
  return 0;
}

Provenance provenance_of(const WindowRequest& request, const Runtime& runtime,
                         const WeightDirectory& directory, const TokenWindows& windows,
                         const std::filesystem::path& tokenizer, const c10::Device& device) {
  Provenance provenance;
  provenance.program_version = program_version();
  provenance.weights_fingerprint = weights_fingerprint(directory);
  provenance.model = directory.config();
  provenance.runtime = runtime.release();
  provenance.compute_dtype = device.is_cpu() ? "float32" : name(directory.config().weight_type);
  for (const HashedFile& file : windows.files)
    provenance.data.push_back({file.path.filename().string(), file.sha256});
  if (!tokenizer.empty()) provenance.tokenizer_sha256 = sha256_hex(read_file(tokenizer));
  provenance.seed = request.seed;
  provenance.samples = request.samples;
  provenance.length = request.length;
  provenance.packed = request.pack;
  return provenance;
}

std::filesystem::path tokenizer_of(const CalibrateOptions& options,
                                   const std::vector<std::filesystem::path>& files) {
  if (!needs_tokenizer(files)) return {};
  return options.tokenizer.empty() ? find_tokenizer(options.weights) : options.tokenizer;
}

// A rank that was killed cannot take back what it had begun to write; opening its place again does.
void clear_leftovers(const CalibrateOptions& options) {
  try {
    clear_output(options.output, options.weights);
  } catch (const Error&) {
    // The place is not ours to write, which the rank has said already.
  }
}

// What a first rank works on, all of it checked.
struct Job {
  std::unique_ptr<OutputTransaction> output;
  std::unique_ptr<WeightDirectory> directory;
  Target target;
  std::vector<std::filesystem::path> files;
  std::filesystem::path tokenizer;  // empty when there is no text
  WindowRequest request;
};

Job open_job(const CalibrateOptions& options, const c10::Device& device) {
  if (options.trace) check_trace_place(*options.trace, options.output.force);
  std::unique_ptr<OutputTransaction> output = open_output(options.output, options.weights);
  std::unique_ptr<WeightDirectory> directory = open_weights(options.weights);
  check_device(device, directory->config().head_dim);
  std::vector<std::filesystem::path> files = expand_data_paths(options.data);
  std::filesystem::path tokenizer = tokenizer_of(options, files);
  WindowRequest request = resolve_windows(options, files);
  Target target = resolve_target(directory->config(), options.scales,
                                 served_embedding_rows(*directory), request.length);
  return {std::move(output), std::move(directory), std::move(target),
          std::move(files),  std::move(tokenizer), request};
}

// The rank that prepares, reports and delivers; the only one in a run of one.
int run_first_rank(const CalibrateOptions& options, const Rank& rank, const DeviceList& devices,
                   const c10::Device& device) {
  const Clock::time_point start = Clock::now();
  Trace trace(device);
  Trace* const tracing = options.trace ? &trace : nullptr;
  ProgressReporter reporter(std::cerr, progress_style(options.quiet));
  Rendezvous rendezvous(rank);
  const Job job = open_job(options, device);
  const ModelConfig& config = job.directory->config();
  warn(std::cerr, job.target.warnings);
  reporter.stage(
      format_plan({config, stored_layer_bytes(*job.directory), job.target, job.request, devices,
                   rank.world, options.micro_batch_tokens, place_of(options.output)}));
  const WindowShape shape{job.request.samples, job.request.length};
  if (rank.world > 1) send_shape(rendezvous, shape);

  std::future<TokenWindows> drawing = std::async(std::launch::async, [&] {
    const HostSpan span(tracing, "preparation", "draw windows");
    return draw_windows(job.files, job.tokenizer, job.request, config.vocab);
  });
  const PassWindows windows{job.target.runtime->rotation(config, shape.length), shape.samples,
                            shape.length};
  const std::unique_ptr<Communicator> communicator = join_ranks(rank, device, rendezvous);
  const PassSettings settings =
      pass_settings(device, options.micro_batch_tokens, rank.world, tracing);
  check_memory(*job.directory, windows, settings, rank.world);
  CalibrationPass pass(*job.directory, windows, settings, *communicator);
  const TokenWindows drawn = drawing.get();
  if (rank.world > 1) send_ids(rendezvous, drawn.ids);

  RunCost cost;
  cost.devices = devices.text();
  cost.ranks = rank.world;
  cost.interconnect = communicator->interconnect();
  const KvStatistics observed = pass.run(drawn.ids, [&](const PassProgress& progress) {
    reporter.layer({progress.layers_done, progress.layers, progress.tokens, progress.seconds,
                    progress.reading});
    if (progress.layers_done == 1) cost.prepare_seconds = seconds_since(start) - progress.seconds;
    cost.layer_seconds = progress.seconds;
    cost.reading = progress.reading;
  });
  if (!options.trace) rendezvous.peers().finish();  // what follows needs nobody else
  cost.peak_host_bytes = peak_host_bytes();
  cost.peak_device_bytes = device.is_cuda() ? peak_gpu_bytes(device) : 0;
  reporter.finish();

  Summary summary;
  {
    const HostSpan span(tracing, "delivery", "deliver");
    const StatisticsFile statistics{observed.rounded(config.weight_type),
                                    provenance_of(job.request, *job.target.runtime, *job.directory,
                                                  drawn, job.tokenizer, device)};
    summary = deliver(*job.output, options.output, *job.directory, job.target, statistics, cost);
  }
  if (options.trace) {
    std::vector<std::string> events = {trace.events(0)};
    for (int64_t other = 1; other < rank.world; ++other)
      events.push_back(receive_trace(rendezvous, other));
    write_trace(*options.trace, events);
  }
  std::cout << (options.json ? to_json(summary).dump(2) + "\n" : format_summary(summary));
  return 0;
}

}  // namespace

int run_calibrate(const CalibrateOptions& options, const std::vector<std::string>& arguments) {
  const Rank rank = rank_from_environment();
  const DeviceList devices = choose_devices(options.devices, options.dry_run);
  if (options.dry_run && rank.index > 0) return 0;
  if (options.dry_run)
    return dry_run(options, devices, rank.launched ? rank.world : devices.ranks());
  if (is_preset(options.weights))
    throw UsageError(concat("--weights ", options.weights.string(), ": a preset has no weights; ",
                            "it can only be planned for, with --dry-run"));
  if (!rank.launched && devices.ranks() > 1) {
    const int exit_code = launch_ranks(devices.ranks(), arguments);
    if (exit_code != 0) clear_leftovers(options);
    return exit_code;
  }
  const c10::Device device = device_of(rank, devices);
  if (rank.world > 1 && device.is_cuda()) prepare_nccl();
  if (rank.index > 0) return run_further_rank(options, rank, device);
  return run_first_rank(options, rank, devices, device);
}

}  // namespace kvcalib
