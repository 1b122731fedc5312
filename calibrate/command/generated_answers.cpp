// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/generated_answers.h"

#include <algorithm>
#include <utility>

#include "calibrate/command/rank_messages.h"
#include "sharding/files/error.h"

namespace kvcalib {

std::vector<TaskContinuations> take_kept_answers(const std::optional<GroupFiles>& files,
                                                 GenerationRequest& request) {
  std::vector<TaskContinuations> answers(request.tasks.size());
  if (!files) return answers;
  std::erase_if(request.tasks, [&](const GenerationTask& task) {
    const std::optional<std::string> kept = files->find_answers(task.place);
    if (!kept) return false;
    const std::string file = files->answers_file(task.place).string();
    TaskContinuations& found = answers[task.place] = continuations_of(*kept, file);
    const auto is_whole = [&](const auto& prompt) {
      return prompt.size() == request.streams.size();
    };
    if (found.size() != task.prompts.size() || !std::all_of(found.begin(), found.end(), is_whole))
      throw Error(concat(file, ": holds other answers than ", task.prompts.size(), " of ",
                         request.streams.size(),
                         " streams; take it away, or run without --resume"));
    return true;
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
                        kept > 0 ? concat(" beside ", kept, " tasks kept") : std::string()));
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
