// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/task_scores.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <stdexcept>

#include "calibrate/evaluate/significance.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr double kPoints = 100;

bool fits(const ItemScores& item, size_t streams, bool is_generated) {
  const size_t texts = item.tokens.size();
  if (item.is_generated() != is_generated || item.streams() != streams) return false;
  if (is_generated) return texts == 0 && item.sums.empty();
  return texts >= 2 && item.gold >= 0 && static_cast<size_t>(item.gold) < texts &&
         std::ranges::all_of(item.sums, [&](const auto& sums) { return sums.size() == texts; });
}

void check_fit(const ScoredTask& task, size_t streams) {
  for (const ItemScores& item : task.items) {
    if (fits(item, streams, task.is_generated())) continue;
    throw std::invalid_argument(concat("score_tasks: ", task.task, ": item '", item.id, "' has ",
                                       item.tokens.size(), " texts, gold ", item.gold, " and ",
                                       item.streams(), " streams of ", streams));
  }
}

// Which items belong together: an index below `count` for each.
struct Clusters {
  std::vector<size_t> of_item;
  size_t count = 0;
};

Clusters clusters_of(const std::vector<ItemScores>& items) {
  Clusters clusters;
  std::map<std::string, size_t> known;
  for (const ItemScores& item : items) {
    size_t index = clusters.count;
    if (!item.cluster.empty()) index = known.try_emplace(item.cluster, index).first->second;
    if (index == clusters.count) ++clusters.count;
    clusters.of_item.push_back(index);
  }
  return clusters;
}

// Mean over items, or of the clusters' means, which then are what is observed.
Estimate mean_of(const std::vector<double>& values, const Clusters& clusters, bool of_groups) {
  std::vector<ClusterSum> sums(clusters.count);
  for (size_t i = 0; i < values.size(); ++i) {
    sums[clusters.of_item[i]].sum += values[i];
    ++sums[clusters.of_item[i]].count;
  }
  if (of_groups)
    for (ClusterSum& sum : sums) sum = {sum.sum / static_cast<double>(sum.count), 1};
  return clustered_mean(sums);
}

// One stream's answers, by item.
struct Answers {
  std::vector<int64_t> choices;  // where two streams' are the same, so are their answers
  std::vector<double> right;     // 1 or 0
  std::vector<double> margins;   // best wrong text's value - gold's
};

// What a stream wrote: chosen is the first stream from which the same was extracted.
Answers generated_answers(const ScoredTask& task, size_t stream) {
  Answers answers;
  for (const ItemScores& item : task.items) {
    const auto same = std::ranges::find(item.answers, item.answers[stream].extracted,
                                        &GeneratedAnswer::extracted);
    answers.choices.push_back(same - item.answers.begin());
    answers.right.push_back(item.answers[stream].right ? 1 : 0);
    answers.margins.push_back(kUnknown);
  }
  return answers;
}

Answers answers_of(const ScoredTask& task, size_t stream) {
  if (task.is_generated()) return generated_answers(task, stream);
  Answers answers;
  for (const ItemScores& item : task.items) {
    std::vector<double> values = text_values(task.rule, item, stream);
    answers.choices.push_back(choice_of(values));
    answers.right.push_back(answers.choices.back() == item.gold ? 1 : 0);
    const double gold = values[static_cast<size_t>(item.gold)];
    values.erase(values.begin() + item.gold);
    const int64_t wrong = choice_of(values);
    answers.margins.push_back(wrong < 0 ? kUnknown : values[static_cast<size_t>(wrong)] - gold);
  }
  return answers;
}

std::vector<double> differences(const std::vector<double>& base, std::vector<double> other) {
  for (size_t i = 0; i < other.size(); ++i) other[i] -= base[i];
  return other;
}

std::vector<int64_t> histogram(const std::vector<int64_t>& labels, size_t size) {
  std::vector<int64_t> counts(size);
  for (const int64_t label : labels)
    if (label >= 0 && static_cast<size_t>(label) < size) ++counts[static_cast<size_t>(label)];
  return counts;
}

StreamScore score_of(const ScoredTask& task, const Clusters& clusters, const Answers& base,
                     const Answers& answers, size_t labels) {
  StreamScore score;
  for (size_t i = 0; i < task.items.size(); ++i) {
    const bool was = base.right[i] != 0, is = answers.right[i] != 0;
    score.lost += was && !is ? 1 : 0;
    score.gained += !was && is ? 1 : 0;
    score.changed_but_wrong += !was && !is && base.choices[i] != answers.choices[i] ? 1 : 0;
  }
  const auto mean = [&](const std::vector<double>& values) {
    return mean_of(values, clusters, task.mean_of_groups);
  };
  score.score = scaled(mean(answers.right), kPoints);
  score.difference = scaled(mean(differences(base.right, answers.right)), kPoints);
  score.p = sign_test(score.lost, score.gained);
  score.margin = mean(answers.margins).value;
  score.margin_change = mean(differences(base.margins, answers.margins));
  score.labels = histogram(answers.choices, labels);
  return score;
}

AnswerAgreement agreement_with_first(const ScoredTask& task, size_t stream) {
  std::vector<AnswerPair> pairs;
  for (const ItemScores& item : task.items)
    pairs.push_back({item.id, item.answers.front(), item.answers[stream]});
  return agreement_of(pairs);
}

// Of the answers "always the same index".
double best_constant(const ScoredTask& task, const Clusters& clusters, size_t labels) {
  double best = kUnknown;
  for (size_t label = 0; label < labels; ++label) {
    std::vector<double> right;
    for (const ItemScores& item : task.items)
      right.push_back(static_cast<size_t>(item.gold) == label ? 1 : 0);
    best = std::fmax(best, kPoints * mean_of(right, clusters, task.mean_of_groups).value);
  }
  return best;
}

TaskScore score_task(const ScoredTask& task, size_t streams) {
  check_fit(task, streams);
  const Clusters clusters = clusters_of(task.items);
  TaskScore score;
  score.task = task.task;
  score.dataset = task.dataset;
  score.metric = task.metric;
  score.follows = task.follows;
  score.items = static_cast<int64_t>(task.items.size());
  score.clusters = static_cast<int64_t>(clusters.count);
  score.is_generated = task.is_generated();
  size_t labels = 0;
  std::vector<int64_t> gold;
  for (const ItemScores& item : task.items) {
    labels = std::max(labels, item.tokens.size());
    gold.push_back(item.gold);
    score.cut += item.cut ? 1 : 0;
  }
  score.baseline = best_constant(task, clusters, labels);
  score.gold_labels = histogram(gold, labels);
  int64_t flips = 0;
  std::vector<Answers> answers;
  for (size_t s = 0; s < streams; ++s) {
    answers.push_back(answers_of(task, s));
    score.streams.push_back(score_of(task, clusters, answers.front(), answers.back(), labels));
    if (score.is_generated) score.streams.back().agreement = agreement_with_first(task, s);
    flips = std::max(flips, score.streams.back().lost + score.streams.back().gained);
  }
  score.smallest_difference = kPoints * smallest_significant_difference(score.items, flips);
  return score;
}

size_t streams_of(std::span<const ScoredTask> tasks) {
  for (const ScoredTask& task : tasks)
    if (!task.items.empty()) return task.items.front().streams();
  return 0;
}

}  // namespace

std::vector<double> text_values(ScoringRule rule, const ItemScores& item, size_t stream) {
  std::vector<double> values = item.sums[stream];
  for (size_t t = 0; t < values.size(); ++t) {
    const auto tokens = static_cast<double>(item.tokens[t]);
    if (rule == ScoringRule::kPerToken) values[t] /= tokens;
    if (rule == ScoringRule::kPerPredicted) values[t] /= tokens - 1;
  }
  return values;
}

int64_t choice_of(std::span<const double> values) {
  int64_t choice = -1;
  for (size_t t = 0; t < values.size(); ++t) {
    if (std::isnan(values[t])) continue;
    if (choice < 0 || values[t] < values[static_cast<size_t>(choice)])
      choice = static_cast<int64_t>(t);
  }
  return choice;
}

bool TaskScore::has_one_gold_label() const {
  return std::count_if(gold_labels.begin(), gold_labels.end(),
                       [](int64_t count) { return count > 0; }) < 2;
}

std::vector<TaskScore> score_tasks(std::span<const ScoredTask> tasks) {
  const size_t streams = streams_of(tasks);
  std::vector<TaskScore> scores;
  for (const ScoredTask& task : tasks) scores.push_back(score_task(task, streams));
  for (size_t s = 1; s < streams; ++s) {
    std::vector<double> probabilities;
    for (const TaskScore& score : scores) probabilities.push_back(score.streams[s].p);
    const std::vector<double> corrected = holm(probabilities);
    for (size_t row = 0; row < scores.size(); ++row)
      scores[row].streams[s].corrected_p = corrected[row];
  }
  return scores;
}

std::vector<TaskTotals> totals(std::span<const TaskScore> tasks) {
  std::vector<TaskTotals> all(tasks.empty() ? 0 : tasks.front().streams.size());
  for (const TaskScore& task : tasks) {
    for (size_t s = 0; s < all.size(); ++s) {
      const StreamScore& score = task.streams[s];
      TaskTotals& total = all[s];
      ++total.rows;
      total.items += task.items;
      total.lost += score.lost;
      total.gained += score.gained;
      total.changed_but_wrong += score.changed_but_wrong;
      total.significant += score.p < kSignificant ? 1 : 0;
      total.still_significant += score.corrected_p < kSignificant ? 1 : 0;
      total.expected += kSignificant;
    }
  }
  return all;
}

}  // namespace kvcalib
