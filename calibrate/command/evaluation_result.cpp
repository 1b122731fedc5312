// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/evaluation_result.h"

#include <utility>

#include "calibrate/command/answer_result.h"
#include "calibrate/evaluate/divergence.h"
#include "calibrate/evaluate/layer_findings.h"

namespace kvcalib {
namespace {

TextMeasures text_measures(const EvaluationWork& work, const TreeRange& range,
                           const GroupScores& scores, size_t streams) {
  DivergenceMeter meter(streams);
  for (size_t tree = range.first; tree < range.last; ++tree)
    meter.add(0, scores.trees[tree], work.trees[tree].scored);
  return meter.measures();
}

ItemScores item_scores(const TokenTree& tree, const ScoredItem& item, const TreeScores& scores) {
  ItemScores result{item.id, item.cluster, item.gold, item.cut, {}, {}};
  for (const TextInTree& text : item.texts) result.tokens.push_back(text.tokens);
  for (const TokenScores& stream : scores.streams) {
    std::vector<double>& sums = result.sums.emplace_back();
    for (const TextInTree& text : item.texts) sums.push_back(text_sum(tree, text, stream.surprise));
  }
  return result;
}

std::vector<ItemScores> items_of(const EvaluationWork& work, const ItemTrees& items,
                                 const GroupScores& scores) {
  std::vector<ItemScores> result;
  for (size_t i = 0; i < items.items.size(); ++i) {
    const size_t tree = items.trees.first + i;
    for (const ScoredItem& item : items.items[i])
      result.push_back(item_scores(work.trees[tree], item, scores.trees[tree]));
  }
  return result;
}

ScoredTask scored_task(const EvaluationWork& work, const TaskTrees& task,
                       const GroupScores& scores) {
  return {task.file.task,
          task.file.dataset,
          task.file.metric,
          task.file.follows,
          task.file.rule,
          task.file.mean_of_groups,
          items_of(work, task.items, scores)};
}

// The first stream's scores beside those of a stream that changes nothing, the last.
bool is_control_zero(const TreeScores& control) {
  const TokenScores &exact = control.streams.front(), &same = control.streams.back();
  if (exact.surprise != same.surprise) return false;
  for (size_t token = 0; token < same.divergence.size(); ++token)
    if (same.divergence[token] != 0 || same.reverse_divergence[token] != 0) return false;
  for (size_t token = 0; token < same.divergence.size(); ++token)
    if (exact.surprise[token] != 0 && same.same_top[token] == 0) return false;
  return true;
}

}  // namespace

EvaluationResult measure(const EvaluationWork& work, const TriedCaches& tried,
                         const ModelConfig& config, const GroupScores& scores,
                         const std::vector<TaskContinuations>& continuations) {
  EvaluationResult result;
  Measured& measured = result.measured;
  for (const TriedCache& cache : tried.caches) measured.streams.push_back(cache.info);
  measured.vocab = config.vocab;
  measured.is_control_zero = is_control_zero(scores.trees.front());
  const size_t streams = tried.caches.size();
  if (work.text.first < work.text.last)
    measured.text = text_measures(work, work.text, scores, streams);
  for (const CopyTrees& copies : work.copies)
    measured.copy.push_back({copies.distance, text_measures(work, copies.trees, scores, streams)});
  if (!work.recall.items.empty()) {
    const ScoredTask recall{"recall",
                            "random tokens",
                            "accuracy",
                            "",
                            ScoringRule::kSum,
                            false,
                            items_of(work, work.recall, scores)};
    measured.recall = score_tasks({&recall, 1});
  }
  result.tasks.resize(work.tasks.size() + work.generations.size());
  for (const TaskTrees& task : work.tasks)
    result.tasks[task.place] = scored_task(work, task, scores);
  if (!work.generations.empty()) {
    const Tokenizer tokenizer(work.tokenizer);
    for (size_t i = 0; i < work.generations.size(); ++i)
      result.tasks[work.generations[i].place] =
          scored_answers(work.generations[i], continuations[i], tokenizer);
  }
  measured.tasks = score_tasks(result.tasks);
  measured.report = work.report;
  const std::vector<StreamProfile> profiles =
      whole_profiles(scores, config.layers, config.kv_heads);
  for (size_t stream = 1; stream < streams; ++stream) {
    std::vector<LayerFigures> layers = layer_figures(profiles[stream], tried.caches[stream].ranks);
    std::vector<std::string> findings = layer_findings(layers, tried.caches[stream].scales);
    measured.profiles.push_back(
        {stream, clipped_share(profiles[stream]), std::move(layers), std::move(findings)});
  }
  return result;
}

}  // namespace kvcalib
