// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calibrate/data/task_file.h"
#include "calibrate/evaluate/answer_scores.h"
#include "calibrate/evaluate/estimate.h"

namespace kvcalib {

// One item of a task as it was scored: by texts, or by what the streams wrote.
struct ItemScores {
  std::string id, cluster;                    // no cluster: depends on no other item
  int64_t gold = 0;                           // index of the right text
  bool cut = false;                           // was too long for the model
  std::vector<int64_t> tokens;                // N of each text
  std::vector<std::vector<double>> sums;      // [streams][texts], of -ln p over the scored tokens
  std::vector<GeneratedAnswer> answers = {};  // [streams]; then there are no tokens and no sums

  bool is_generated() const { return !answers.empty(); }
  size_t streams() const { return is_generated() ? answers.size() : sums.size(); }
};

// A task as it was scored: one row of the table.
struct ScoredTask {
  std::string task, dataset, metric, follows;
  ScoringRule rule = ScoringRule::kPerToken;
  bool mean_of_groups = false;  // the clusters' scores weigh the same, whatever their size
  std::vector<ItemScores> items;

  bool is_generated() const { return !items.empty() && items.front().is_generated(); }
};

// Values of an item's texts under one stream.
std::vector<double> text_values(ScoringRule rule, const ItemScores& item, size_t stream);

// The index of the lowest; -1 when none is a number.
int64_t choice_of(std::span<const double> values);

// One stream's answers against the first's.  Points are percent of the items.  Of generated answers
// there are no margins and no labels.
struct StreamScore {
  Estimate score;       // points
  Estimate difference;  // points; errors are paired, by cluster where there are clusters
  int64_t lost = 0, gained = 0, changed_but_wrong = 0;  // items
  double p = 1;                                         // sign_test of lost and gained
  double corrected_p = 1;                               // Holm's, over the rows of this stream
  double margin = kUnknown;  // mean of (best wrong text's value - gold's)
  Estimate margin_change;
  std::vector<int64_t> labels;                    // how often each index was chosen
  std::optional<AnswerAgreement> agreement = {};  // of generated answers
};

struct TaskScore {
  std::string task, dataset, metric, follows;
  int64_t items = 0, clusters = 0, cut = 0;  // clusters: as many as items where there are none
  bool is_generated = false;
  double baseline = kUnknown;        // points of the best constant answer; of texts alone
  std::vector<int64_t> gold_labels;  // how often each index is right
  std::vector<StreamScore> streams;
  // Points that this many items could have shown, of the stream with the most flips.
  double smallest_difference = kUnknown;

  // That no text's place is right more often tells nothing when it is always the same.
  bool has_one_gold_label() const;
};

// Scores of every task, with the correction over all of them.  Throws std::invalid_argument when an
// item's parts do not fit each other, as items that were scored do.
std::vector<TaskScore> score_tasks(std::span<const ScoredTask> tasks);

// One stream over all rows.
struct TaskTotals {
  int64_t rows = 0, items = 0, lost = 0, gained = 0, changed_but_wrong = 0;
  int64_t significant = 0;        // rows with p below 0.05
  int64_t still_significant = 0;  // after correction
  double expected = 0;            // significant rows when there is no difference anywhere
};

// Of each stream.
std::vector<TaskTotals> totals(std::span<const TaskScore> tasks);

}  // namespace kvcalib
