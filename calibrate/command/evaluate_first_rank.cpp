// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/evaluate_first_rank.h"

#include <atomic>
#include <chrono>
#include <iomanip>
#include <iostream>
#include <optional>
#include <sstream>
#include <utility>

#include "calibrate/command/evaluation_job.h"
#include "calibrate/command/evaluation_result.h"
#include "calibrate/command/generated_answers.h"
#include "calibrate/command/group_files.h"
#include "calibrate/command/host_memory.h"
#include "calibrate/command/rank_messages.h"
#include "calibrate/command/trace_file.h"
#include "calibrate/evaluate/gates.h"
#include "calibrate/evaluate/verdict.h"
#include "calibrate/report/evaluation_files.h"
#include "calibrate/report/evaluation_json.h"
#include "calibrate/report/evaluation_report.h"
#include "calibrate/report/gigabytes.h"
#include "calibrate/report/progress.h"
#include "calibrate/report/standard_output.h"
#include "calibrate/report/warnings.h"
#include "sharding/files/error.h"
#include "sharding/files/json_writer.h"
#include "sharding/files/leave_by_signal.h"
#include "sharding/files/seconds_since.h"
#include "sharding/formats/fingerprint.h"
#include "sharding/streaming/device.h"

namespace kvcalib {
namespace {

using Clock = std::chrono::steady_clock;

std::string describe(const ScoreRequest& request, size_t kept) {
  const int64_t tokens = tokens_of(request.trees);
  const auto plural = [](size_t count) { return count == 1 ? "" : "s"; };
  const size_t groups = request.groups.size();
  std::string text = concat("scoring ", tokens, " tokens under ", request.streams.size() - 1,
                            " caches, ", groups, " reading", plural(groups), " of the weights");
  if (kept > 0) text += concat(" beside ", kept, " kept");
  return text;
}

std::string model_line(const WeightDirectory& directory) {
  const ModelConfig& config = directory.config();
  return concat(config.layers, " layers, hidden ", config.hidden, ", ", config.heads, " heads, ",
                config.kv_heads, " kv heads x ", config.head_dim, ", vocab ", config.vocab, ", ",
                name(config.weight_type), ", fingerprint ",
                weights_fingerprint(directory).substr(0, 16));
}

// What a run took, for a person: results do not depend on it.
struct Cost {
  Clock::time_point start = Clock::now();
  double layer_seconds = 0, head_seconds = 0;
  uint64_t planned_bytes = 0;

  std::string text(const c10::Device& device) const {
    return concat("layers ", seconds(layer_seconds), ", head and scores ", seconds(head_seconds),
                  ", all ", seconds(seconds_since(start)), "; at most ",
                  gigabytes(peak_host_bytes()), " of host memory",
                  device.is_cuda() ? concat(", ", gigabytes(peak_gpu_bytes(device)),
                                            " of the GPU (planned ", gigabytes(planned_bytes), ")")
                                   : std::string());
  }

 private:
  static std::string seconds(double value) {
    std::ostringstream text;
    text << std::fixed << std::setprecision(2) << value << " s";
    return text.str();
  }
};

// What the ranks find of one group.
GroupScores score_group(ScorePass& pass, const ScoreRequest& request, size_t group,
                        Rendezvous& rendezvous, int64_t ranks, ProgressReporter& reporter,
                        Cost& cost) {
  const TreeGroup& trees = request.groups[group];
  double layer_seconds = 0;
  Clock::time_point layers_done;
  GroupScores scores =
      pass.run(trees_of(request, trees), trees.first, [&](const PassProgress& progress) {
        reporter.layer(progress);
        layer_seconds = progress.seconds;
        layers_done = Clock::now();
      });
  cost.layer_seconds += layer_seconds;
  cost.head_seconds += seconds_since(layers_done);
  for (int64_t rank = 1; rank < ranks; ++rank)
    append(scores, receive_scores(rendezvous, group, rank));
  return scores;
}

// The scores of groups that an earlier run kept; the request's groups are what is left.
GroupScores take_kept(const std::optional<GroupFiles>& files, ScoreRequest& request,
                      int64_t group_tokens, size_t& kept) {
  GroupScores scores;
  int64_t next = 0;
  if (files) {
    for (const KeptGroup& group : files->find()) {
      append(scores, group_scores_of(group.scores, "a kept group"));
      next = group.trees.last;
      ++kept;
    }
  }
  request.groups = tree_groups(request.trees, next, group_tokens);
  return scores;
}

// Prints what was found, and on stderr the gates that were not kept: the exit code.
int report(const EvaluateOptions& options, const Evaluation& evaluation) {
  print(options.json ? evaluation_json(evaluation) : format_evaluation(evaluation));
  const std::vector<std::string> failed =
      evaluation.failed_gates.value_or(std::vector<std::string>());
  for (const std::string& gate : failed) std::cerr << "gate: " << gate << "\n";
  const bool differs = !evaluation.measured.is_control_zero.value_or(true);
  return failed.empty() && !differs ? 0 : 1;
}

}  // namespace

int run_evaluate_first_rank(const EvaluateOptions& options, const Rank& rank,
                            const c10::Device& device) {
  Cost cost;
  Trace trace(device);
  Trace* const tracing = options.trace ? &trace : nullptr;
  ProgressReporter reporter(std::cerr, progress_style(options.quiet));
  Rendezvous rendezvous(rank);
  EvaluationJob job = open_job(options, device);
  warn(std::cerr, job.directory->warnings());
  warn(std::cerr, job.tried.notes);
  warn(std::cerr, job.work.warnings);
  ScoreRequest request = make_request(job);
  GenerationRequest generation = make_generation_request(job, device, rank.world);
  std::optional<GroupFiles> files;
  if (options.output)
    files.emplace(*options.output, digest_of(job, request, generation, device), options.resume);
  if (files && files->dropped() > 0)
    warn(std::cerr, {concat(files->dropped(), " finished parts of an earlier run were dropped; ",
                            "with --resume they would have been used")});
  size_t kept = 0;
  GroupScores scores = take_kept(
      files, request, group_tokens(options, *job.directory, request, device, rank.world), kept);
  reporter.stage(describe(request, kept));
  std::vector<TaskContinuations> continuations = take_kept_answers(files, generation);
  if (rank.world > 1) {
    send_request(rendezvous, request);
    send_generation(rendezvous, generation);
  }
  const RankRun run = join_ranks({rank, device, options.micro_batch_tokens, tracing}, rendezvous);
  std::unique_ptr<ScorePass> pass = start_score_pass(*job.directory, *job.runtime, request, run);
  std::atomic<bool> keeps = kept > 0 || generation.tasks.size() < continuations.size();
  const BeforeLeaving leaving([&](int) {
    return keeps ? std::string("what was finished is kept: --resume goes on behind it")
                 : std::string();
  });
  for (size_t group = 0; group < request.groups.size(); ++group) {
    GroupScores found = score_group(*pass, request, group, rendezvous, rank.world, reporter, cost);
    job.inputs.check();
    if (files && (group + 1 < request.groups.size() || !generation.tasks.empty())) {
      files->keep(request.groups[group], to_bytes(found));
      keeps = true;
    }
    append(scores, std::move(found));
  }
  pass.reset();  // its memory is wanted
  generate_answers(job, generation, run, rendezvous, reporter,
                   [&](const GenerationTask& task, TaskContinuations found) {
                     job.inputs.check();
                     if (files && task.place != generation.tasks.back().place) {
                       files->keep_answers(task.place, to_bytes(found));
                       keeps = true;
                     }
                     continuations[task.place] = std::move(found);
                   });
  if (!options.trace) rendezvous.peers().finish();  // what follows needs nobody else
  cost.planned_bytes = plan_of(*job.directory, request, run.settings, rank.world).total();
  if (device.is_cuda()) trace.note_memory(peak_gpu_bytes(device), cost.planned_bytes);
  reporter.finish();
  reporter.stage(cost.text(device));

  job.work.trees = std::move(request.trees);
  EvaluationResult result =
      measure(job.work, job.tried, job.directory->config(), scores, continuations);
  Evaluation evaluation{.model = model_line(*job.directory),
                        .runtime = job.runtime->title(),
                        .data = {},
                        .length = options.length,
                        .limit = options.limit,
                        .seed = options.seed,
                        .measured = std::move(result.measured),
                        .verdict = {},
                        .notes = job.work.notes};
  for (const HashedFile& file : job.work.files)
    evaluation.data.push_back({escape_invalid_utf8(file.path.filename().string()), file.sha256});
  evaluation.verdict = verdict(evaluation.measured);
  if (options.gates.any())
    evaluation.failed_gates = failed_gates(options.gates, evaluation.measured);
  int exit_code = 0;
  const auto finish = [&] {
    if (options.trace) write_trace(*options.trace, gather_traces(rendezvous, rank.world, trace));
    exit_code = report(options, evaluation);
  };
  if (job.output != nullptr) {
    for (const DeliveredFile& file : evaluation_files(evaluation, result.tasks))
      job.output->write(file.name, file.content);
    job.output->commit();
    rendezvous.tell_delivered();
    job.output->after_commit([&] {
      files->remove();
      finish();
    });
  } else {
    finish();
  }
  rendezvous.tell_done();
  return exit_code;
}

}  // namespace kvcalib
