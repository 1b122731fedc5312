// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/data/input_file.h"

namespace kvcalib {

// What is compared between the texts of an item; the lowest wins.  Of a text of N tokens, a BOS
// that the tokenizer puts among them:
//   kPerToken      the surprises of tokens 2 .. N, summed, over N      ("ppl")
//   kPerPredicted  the same sum over N - 1                             ("ppl/(n-1)")
//   kSum           the sum from the token where the continuation begins ("ll")
enum class ScoringRule : uint8_t { kPerToken, kPerPredicted, kSum };

// As task files name it: ppl, ppl/(n-1), ll.
const char* name_of(ScoringRule rule);

// A question: texts of which the model is to find one the likeliest.
struct TaskItem {
  std::string id;
  std::string group;  // what it has in common with other items, as a passage; empty: nothing
  std::vector<std::string> texts;         // 2 to 4096, none empty; or else
  std::vector<std::vector<int32_t>> ids;  // the same as tokens
  // Of rule ll, by text: where the continuation begins, in characters (Unicode code points), or in
  // tokens for ids.
  std::vector<int64_t> from;
  int64_t gold = 0;   // the right text
  uint64_t line = 0;  // of the file, from 1

  int64_t choices() const { return static_cast<int64_t>(ids.empty() ? texts.size() : ids.size()); }
};

// A task file as configs/tasks/README.md describes it.
struct TaskFile {
  HashedFile file;
  std::string task, dataset, metric;
  std::string follows;  // the public config that the prompts are taken from; may be empty
  ScoringRule rule = ScoringRule::kPerToken;
  std::vector<std::string> labels;  // of the texts, where all items have the same
  bool mean_of_groups = false;      // the score is the mean of the groups' means
  std::optional<int32_t> bos;       // that all texts given as ids begin with
  std::vector<TaskItem> items;      // at least 1

  bool holds_ids() const { return !items.front().ids.empty(); }
  // "FILE, line 12"
  std::string where(const TaskItem& item) const;
};

// Reads a task file, of its items the first `most_items` alone where that is given; what stands
// behind them is not looked at.  Throws Error naming file and line for what is not of the format,
// for ids outside [0, vocab), and for generation tasks.
TaskFile read_task_file(const std::filesystem::path& path, int64_t vocab,
                        std::optional<int64_t> most_items = {});

}  // namespace kvcalib
