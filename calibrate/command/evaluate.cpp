// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/commands.h"
#include "calibrate/command/devices.h"
#include "calibrate/command/evaluate_first_rank.h"
#include "calibrate/command/evaluation_job.h"
#include "calibrate/command/generation_run.h"
#include "calibrate/command/planned_model.h"
#include "calibrate/command/rank_messages.h"
#include "calibrate/command/rank_run.h"
#include "calibrate/command/run_on_ranks.h"
#include "calibrate/command/score_request.h"
#include "calibrate/engine/score_pass.h"
#include "calibrate/runtimes/runtime.h"
#include "sharding/files/error.h"
#include "sharding/files/unchanged_files.h"
#include "sharding/formats/open_weights.h"
#include "sharding/formats/weight_files.h"

namespace kvcalib {
namespace {

int run_further_rank(const EvaluateOptions& options, const Rank& rank, const c10::Device& device) {
  Trace trace(device);
  Trace* const tracing = options.trace ? &trace : nullptr;
  Rendezvous rendezvous(rank);
  const ScoreRequest request = receive_request(rendezvous);  // sent when all is checked
  const GenerationRequest generation = receive_generation(rendezvous);
  const std::unique_ptr<WeightDirectory> directory = open_weights(options.weights);
  UnchangedFiles weights;
  weights.add(weight_files(*directory));
  const RankRun run = join_ranks({rank, device, options.micro_batch_tokens, tracing}, rendezvous);
  const std::unique_ptr<const Runtime> runtime = options.runtime.open();
  std::unique_ptr<ScorePass> pass = start_score_pass(*directory, *runtime, request, run);
  for (size_t i = 0; i < request.groups.size(); ++i) {
    const TreeGroup& group = request.groups[i];
    const std::string scores = to_bytes(pass->run(trees_of(request, group), group.first, {}));
    weights.check();
    send_scores(rendezvous, i, rank.index, scores);
  }
  pass.reset();
  if (!generation.tasks.empty()) {
    generate(*directory, *runtime, generation, run, {},
             [&](const GenerationTask& task, const TaskContinuations& own) {
               weights.check();
               send_continuations(rendezvous, task.place, rank.index, own);
             });
  }
  if (tracing != nullptr) send_trace(rendezvous, rank.index, trace.events(rank.index));
  rendezvous.peers().finish();
  return 0;
}

}  // namespace

int run_evaluate(const EvaluateOptions& options, const std::vector<std::string>& arguments) {
  if (options.memory) return run_memory(options);
  const Rank rank = rank_from_environment();
  const DeviceList devices = choose_devices(options.devices);
  if (names_preset(options.weights))
    throw UsageError(
        concat("--weights ", options.weights.string(),
               ": a preset has no weights to evaluate; kvcalib plan, or --memory on a ",
               "GPU, tells what it would take in service"));
  return run_on_ranks(rank, devices, arguments,
                      {.first =
                           [&](const Rank& first, const c10::Device& device) {
                             return run_evaluate_first_rank(options, first, device);
                           },
                       .further =
                           [&](const Rank& further, const c10::Device& device) {
                             return run_further_rank(options, further, device);
                           },
                       .clear_leftovers = [&] { clear_evaluation(options); }});
}

}  // namespace kvcalib
