// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/first_rank.h"

#include <chrono>
#include <future>
#include <iostream>
#include <optional>

#include "calibrate/command/calibrate_request.h"
#include "calibrate/command/host_memory.h"
#include "calibrate/command/plan.h"
#include "calibrate/command/rank_messages.h"
#include "calibrate/command/rank_run.h"
#include "calibrate/command/trace_file.h"
#include "calibrate/data/token_documents.h"
#include "calibrate/data/tokenizer.h"
#include "calibrate/data/windows.h"
#include "calibrate/delivery/program_version.h"
#include "calibrate/report/delivered.h"
#include "calibrate/report/progress.h"
#include "calibrate/report/standard_output.h"
#include "calibrate/report/warnings.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/json_writer.h"
#include "sharding/files/metadata_file.h"
#include "sharding/files/seconds_since.h"
#include "sharding/files/sha256.h"
#include "sharding/files/unchanged_files.h"
#include "sharding/formats/fingerprint.h"
#include "sharding/formats/open_weights.h"
#include "sharding/formats/weight_files.h"
#include "sharding/streaming/device.h"

namespace kvcalib {
namespace {

using Clock = std::chrono::steady_clock;

std::filesystem::path tokenizer_of(const CalibrateOptions& options,
                                   const std::vector<std::filesystem::path>& files) {
  if (!needs_tokenizer(files)) return {};
  return options.tokenizer.empty() ? find_tokenizer(options.weights) : options.tokenizer;
}

// What a first rank works on, all of it checked.
struct Job {
  std::unique_ptr<OutputTransaction> output;
  std::unique_ptr<WeightDirectory> directory;
  Target target;
  std::vector<std::filesystem::path> files;
  std::filesystem::path tokenizer;  // empty when there is no text
  WindowRequest request;
  UnchangedFiles inputs;  // all that is read
};

UnchangedFiles inputs_of(const WeightDirectory& directory,
                         const std::vector<std::filesystem::path>& data,
                         const std::filesystem::path& tokenizer) {
  UnchangedFiles inputs;
  inputs.add(weight_files(directory));
  inputs.add(data);
  for (const std::filesystem::path& file : data) {
    if (kind_behind(offsets_of(file)) == FileKind::kFile) inputs.add({offsets_of(file)});
  }
  if (!tokenizer.empty()) inputs.add({tokenizer});
  return inputs;
}

Job open_job(const CalibrateOptions& options, const c10::Device& device) {
  if (options.trace)
    check_trace_place(*options.trace, options.weights, options.output.output, options.output.force);
  std::unique_ptr<OutputTransaction> output =
      open_output(options.output, options.scales.readers, options.weights);
  std::unique_ptr<WeightDirectory> directory = open_weights(options.weights);
  check_device(device, directory->config().head_dim);
  std::vector<std::filesystem::path> files = expand_data_paths(options.data);
  std::filesystem::path tokenizer = tokenizer_of(options, files);
  WindowRequest request = resolve_windows(options, files);
  Target target = resolve_target(*directory, options.scales, request.length);
  UnchangedFiles inputs = inputs_of(*directory, files, tokenizer);
  return {std::move(output), std::move(directory), std::move(target),
          std::move(files),  std::move(tokenizer), request,
          std::move(inputs)};
}

Provenance provenance_of(const Job& job, const TokenWindows& windows, const c10::Device& device) {
  const WeightDirectory& directory = *job.directory;
  Provenance provenance;
  provenance.program_version = program_version();
  provenance.weights_fingerprint = weights_fingerprint(directory);
  provenance.model = directory.config();
  provenance.runtime = job.target.runtime->release();
  provenance.compute_dtype = device.is_cpu() ? "float32" : name(directory.config().weight_type);
  for (const HashedFile& file : windows.files)
    provenance.data.push_back({escape_invalid_utf8(file.path.filename().string()), file.sha256});
  if (!job.tokenizer.empty())
    provenance.tokenizer_sha256 = sha256_hex(read_metadata_file(job.tokenizer));
  provenance.seed = job.request.seed;
  provenance.samples = job.request.samples;
  provenance.length = job.request.length;
  provenance.packed = job.request.pack;
  return provenance;
}

// Runs the windows; what that cost is told while they run.
KvStatistics observe(CalibrationPass& pass, std::span<const int32_t> ids, Clock::time_point start,
                     ProgressReporter& reporter, RunCost& cost) {
  return pass.run(ids, [&](const PassProgress& progress) {
    reporter.layer(progress);
    if (progress.layers_done == 1) cost.prepare_seconds = seconds_since(start) - progress.seconds;
    cost.layer_seconds = progress.seconds;
    cost.reading = progress.reading;
  });
}

}  // namespace

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
  const CalibrationPlan plan{config,
                             stored_layer_bytes(*job.directory),
                             job.target,
                             job.request,
                             devices,
                             rank.world,
                             options.micro_batch_tokens,
                             place_of(options.output),
                             options.histograms};
  reporter.stage(format_plan(plan));
  if (const std::optional<HostMemory> memory = host_memory("/"))
    check_host_memory(plan.host_memory(), *memory);
  const WindowShape shape{job.request.samples, job.request.length};
  if (rank.world > 1) send_shape(rendezvous, shape);

  std::future<TokenWindows> drawing = std::async(std::launch::async, [&] {
    const HostSpan span(tracing, "preparation", "draw windows");
    return draw_windows(job.files, job.tokenizer, job.request, config.vocab);
  });
  const RankRun run = join_ranks({rank, device, options.micro_batch_tokens, tracing}, rendezvous);
  const std::unique_ptr<CalibrationPass> pass =
      start_pass(*job.directory,
                 {job.target.runtime->rotation(config, shape.length), shape.samples, shape.length,
                  options.histograms},
                 run);
  const TokenWindows drawn = drawing.get();
  warn(std::cerr, drawn.warnings);
  if (rank.world > 1) send_ids(rendezvous, drawn.ids);

  RunCost cost;
  cost.devices = devices.text();
  cost.ranks = rank.world;
  cost.interconnect = run.communicator->interconnect();
  const KvStatistics observed = observe(*pass, drawn.ids, start, reporter, cost);
  if (!options.trace) rendezvous.peers().finish();  // what follows needs nobody else
  cost.peak_host_bytes = peak_host_bytes();
  cost.peak_device_bytes = device.is_cuda() ? peak_gpu_bytes(device) : 0;
  reporter.finish();

  Delivered delivered;
  {
    const HostSpan span(tracing, "delivery", "deliver");
    StatisticsFile statistics{observed.rounded(config.weight_type),
                              provenance_of(job, drawn, device)};
    job.inputs.check();
    const std::filesystem::path place = output_path(options.output, job.directory->path());
    delivered = deliver(*job.directory, job.target, std::move(statistics), place.string(), cost,
                        *job.output);
    rendezvous.tell_delivered();
  }
  job.output->after_commit([&] {
    if (delivered.summary) warn(std::cerr, delivered.summary->delivery.clipped);
    warn(std::cerr, job.output->warnings());
    if (options.trace) write_trace(*options.trace, gather_traces(rendezvous, rank.world, trace));
    print(options.json ? json_text(to_json(delivered)) : format_delivered(delivered));
  });
  rendezvous.tell_done();
  return 0;
}

}  // namespace kvcalib
