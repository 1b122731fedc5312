// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/evaluation_job.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "calibrate/command/devices.h"
#include "calibrate/command/generation_run.h"
#include "calibrate/command/host_memory.h"
#include "calibrate/command/trace_file.h"
#include "calibrate/data/window_request.h"
#include "calibrate/delivery/program_version.h"
#include "calibrate/engine/processor.h"
#include "calibrate/output/file_operations.h"
#include "calibrate/report/evaluation_files.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/sha256.h"
#include "sharding/formats/fingerprint.h"
#include "sharding/formats/model_config_json.h"
#include "sharding/formats/open_weights.h"
#include "sharding/formats/weight_files.h"
#include "sharding/streaming/device.h"

namespace kvcalib {
namespace {

constexpr const char* kWaysOut = "use a smaller --group or --micro-batch, or more GPUs";

std::unique_ptr<OutputDirectory> open_report(const EvaluateOptions& options) {
  const std::filesystem::path& output = *options.output;
  check_beside_weights("--output", output, options.weights);
  const ForeignEntry foreign = foreign_to(evaluation_file_names());
  if (options.resume && !options.force && kind_behind(output) == FileKind::kDirectory &&
      !list_directory(output).empty() && !foreign(output))
    throw Error(concat("--resume: ", output.string(), " holds a finished report; --force makes it ",
                       "anew"));
  return std::make_unique<OutputDirectory>(output, options.force, foreign);
}

}  // namespace

EvaluationJob open_job(const EvaluateOptions& options, const c10::Device& device) {
  if (options.trace)
    check_trace_place(*options.trace, options.weights, options.output, options.force);
  EvaluationJob job;
  if (options.output) job.output = open_report(options);
  job.directory = open_weights(options.weights);
  check_device(device, job.directory->config().head_dim);
  job.runtime = options.runtime.open();
  job.tried = tried_caches(options, *job.directory, *job.runtime);
  job.work = read_work(options, job.directory->config());
  job.work.notes.insert(job.work.notes.end(), job.tried.notes.begin(), job.tried.notes.end());
  const int64_t positions = job.directory->config().max_position_embeddings;
  int64_t longest = job.work.length;
  for (const GenerationWork& work : job.work.generations)
    longest = std::max(longest, longest_of(work));
  if (positions > 0 && longest > positions)
    job.work.warnings.push_back(concat("texts have up to ", longest,
                                       " tokens, the model was made for ", positions, "; --length ",
                                       positions, " keeps to it"));
  job.inputs.add(weight_files(*job.directory));
  job.weights = job.inputs.text();
  job.inputs.add(job.tried.files);
  job.inputs.add(job.work.read);
  return job;
}

void clear_evaluation(const EvaluateOptions& options) {
  if (!options.output) return;
  try {
    open_report(options);
  } catch (const Error&) {
    // The place is not ours to write, which the rank has said already.
  }
}

ScoreRequest make_request(EvaluationJob& job) {
  constexpr auto kControl = static_cast<int64_t>(kControlTrees);
  ScoreRequest request;
  for (const TriedCache& cache : job.tried.caches)
    request.streams.push_back({cache.info.name, cache.format, kControl});
  request.streams.front().first_tree = 0;
  request.streams.push_back({"control", {}, 0, kControl});
  request.length = job.work.length;
  request.sample_from = kControl;
  request.trees = std::move(job.work.trees);
  request.divergences = job.work.text.first < job.work.text.last || !job.work.copies.empty();
  return request;
}

GenerationRequest make_generation_request(const EvaluationJob& job, const c10::Device& device,
                                          int64_t ranks) {
  GenerationRequest request;
  if (job.work.generations.empty()) return request;
  for (const TriedCache& cache : job.tried.caches) {
    if (cache.info.is_compared_only)
      throw UsageError(
          concat("--formats ", cache.info.name, ": answers are generated with 16 bits ",
                 "and the runtime's int8 alone; leave it out, or the tasks of rule ", "gen"));
    request.streams.push_back({cache.info.name, cache.format});
  }
  request.decoding = job.runtime->decoding();
  request.end = job.work.end;
  request.tokenizer = job.work.tokenizer.string();
  for (const GenerationWork& work : job.work.generations) {
    GenerationTask& task = request.tasks.emplace_back();
    task.place = request.tasks.size() - 1;
    task.name = work.file.task;
    task.extract = work.file.generation->extract;
    for (const PromptTokens& prompt : work.prompts)
      task.prompts.push_back({prompt.ids, work.file.generation->max_new_tokens});
    request.length = std::max(request.length, longest_of(work));
  }
  place_weights(job.directory->config(), request.tasks,
                generation_room(*job.directory, request.streams, device, ranks));
  return request;
}

int64_t group_tokens(const EvaluateOptions& options, const WeightDirectory& directory,
                     const ScoreRequest& request, const c10::Device& device, int64_t ranks) {
  const auto streams = static_cast<int64_t>(request.streams.size()) - 1;  // but for the control
  const auto plan_of_tokens = [&](int64_t tokens) {
    return plan_score_memory(directory.config(), stored_layer_bytes(directory),
                             score_load(request.trees, tokens, streams),
                             {.device = device, .micro_batch_tokens = options.micro_batch_tokens});
  };
  const MemoryPlan fixed = plan_of_tokens(0);
  const int64_t all = tokens_of(request.trees);
  uint64_t free = 0;
  if (device.is_cuda()) {
    set_gpu(device);
    free = gpu_memory().free_bytes;
  } else if (const std::optional<HostMemory> memory = host_memory("/")) {
    free = memory->free_bytes / static_cast<uint64_t>(ranks);
    const int64_t asked = std::min(options.group_tokens, all);
    check_memory(plan_of_tokens((asked + ranks - 1) / ranks), "host memory of a rank", free,
                 memory->total_bytes, kWaysOut);
  }
  if (options.group_tokens > 0) return options.group_tokens;
  const uint64_t rest = (free - std::min(free, fixed.total())) / 2;
  const uint64_t tokens = rest / score_token_bytes(directory.config(), streams, device);
  return std::clamp<int64_t>(static_cast<int64_t>(std::min<uint64_t>(tokens, kMostTokens)) * ranks,
                             1, kMostTokens);
}

std::string digest_of(const EvaluationJob& job, const ScoreRequest& request,
                      GenerationRequest generation, const c10::Device& device) {
  if (!generation.tokenizer.empty())
    generation.tokenizer = hash_file(generation.tokenizer).sha256;  // wherever it is
  return sha256_hex(concat(program_version(), "\n", weights_fingerprint(*job.directory), "\n",
                           nlohmann::json(job.directory->config()).dump(), "\n", job.weights,
                           job.runtime->release(), "\n", processor(device), "\n", to_bytes(request),
                           to_bytes(generation)));
}

MemoryPlan plan_of(const WeightDirectory& directory, const ScoreRequest& request,
                   const PassSettings& settings, int64_t ranks) {
  ScoreLoad load = score_load(request.trees, 0, static_cast<int64_t>(request.streams.size()) - 1);
  for (const TreeGroup& group : request.groups)
    load.tokens = std::max(load.tokens, (tokens_of(trees_of(request, group)) + ranks - 1) / ranks);
  return plan_score_memory(directory.config(), stored_layer_bytes(directory), load, settings);
}

std::unique_ptr<ScorePass> start_score_pass(const WeightDirectory& directory,
                                            const Runtime& runtime, const ScoreRequest& request,
                                            const RankRun& run) {
  check_device_memory(plan_of(directory, request, run.settings, run.communicator->size()),
                      run.settings.device, kWaysOut);
  return std::make_unique<ScorePass>(
      directory,
      ScoreSettings{.streams = request.streams,
                    .rotation = runtime.rotation(directory.config(), request.length),
                    .length = request.length,
                    .divergences = request.divergences,
                    .sample_from = request.sample_from},
      run.settings, *run.communicator);
}

std::span<const TokenTree> trees_of(const ScoreRequest& request, const TreeGroup& group) {
  return std::span(request.trees)
      .subspan(static_cast<size_t>(group.first), static_cast<size_t>(group.last - group.first));
}

}  // namespace kvcalib
