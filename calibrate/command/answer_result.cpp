// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/answer_result.h"

#include <utility>

#include "calibrate/evaluate/answer_rules.h"

namespace kvcalib {

ScoredTask scored_answers(const GenerationWork& work, const TaskContinuations& continuations,
                          const Tokenizer& tokenizer) {
  const TaskFile& file = work.file;
  const AnswerRule rule(file.generation->extract);
  ScoredTask task{.task = file.task,
                  .dataset = file.dataset,
                  .metric = file.metric,
                  .follows = file.follows,
                  .rule = file.rule,
                  .mean_of_groups = file.mean_of_groups,
                  .items = {}};
  for (size_t i = 0; i < file.items.size(); ++i) {
    const TaskItem& given = file.items[i];
    ItemScores& item = task.items.emplace_back();
    item.id = given.id;
    item.cluster = given.group;
    item.cut = work.prompts[i].cut;
    for (const Continuation& found : continuations[i]) {
      GeneratedAnswer answer;
      answer.ids = found.ids;
      answer.text = tokenizer.decode(found.ids);
      answer.extracted = rule.extract(answer.text);
      answer.right = rule.is_right(answer.text, given.answers);
      answer.ended = found.ended;
      item.answers.push_back(std::move(answer));
    }
  }
  return task;
}

}  // namespace kvcalib
