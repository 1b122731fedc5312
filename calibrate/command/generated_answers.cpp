// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/generated_answers.h"

#include <utility>

#include "calibrate/command/rank_messages.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

std::string where_weights_are(WeightPlace place) {
  switch (place) {
    case WeightPlace::kEveryDevice:
      return {};
    case WeightPlace::kDivided:
      return "; their layers are divided among the ranks";
    case WeightPlace::kFiles:
      return "; the weights do not fit beside them, so that every token takes a reading of the "
             "weights";
  }
  return {};
}

}  // namespace

std::vector<TaskContinuations> take_kept_answers(const std::optional<GroupFiles>& files,
                                                 GenerationRequest& request) {
  std::vector<TaskContinuations> answers(request.tasks.size());
  if (!files) return answers;
  std::erase_if(request.tasks, [&](const GenerationTask& task) {
    const std::optional<std::string> kept = files->find_answers(task.place);
    if (kept) answers[task.place] = continuations_of(*kept, "the kept answers of a task");
    return kept.has_value();
  });
  return answers;
}

void generate_answers(const EvaluationJob& job, const GenerationRequest& request,
                      const RankRun& run, Rendezvous& rendezvous, ProgressReporter& reporter,
                      const TakeContinuations& take) {
  if (request.tasks.empty()) return;
  size_t prompts = 0;
  for (const GenerationTask& task : request.tasks) prompts += task.prompts.size();
  const size_t kept = job.work.generations.size() - request.tasks.size();
  reporter.stage(concat("generating answers of ", prompts, " prompts under ",
                        request.streams.size(), " caches",
                        kept > 0 ? concat(" beside ", kept, " tasks kept") : std::string(),
                        where_weights_are(request.weight_place)));
  generate(
      *job.directory, *job.runtime, request, run,
      [&](const std::string& text, bool last) { reporter.update(text, false, last); },
      [&](const GenerationTask& task, TaskContinuations own) {
        std::vector<TaskContinuations> of_ranks = {std::move(own)};
        for (int64_t rank = 1; rank < run.communicator->size(); ++rank)
          of_ranks.push_back(receive_continuations(rendezvous, task.place, rank));
        take(task, merged(task, std::move(of_ranks)));
      });
}

}  // namespace kvcalib
