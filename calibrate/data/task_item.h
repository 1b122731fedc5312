// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/data/task_header.h"

namespace kvcalib {

// A question: texts of which the model is to find one the likeliest, or (rule gen) a prompt behind
// which it is to write an answer.
struct TaskItem {
  std::string id;
  std::string group;  // what it has in common with other items, as a passage; empty: nothing
  std::vector<std::string> texts;         // 2 to 4096, none empty; or else
  std::vector<std::vector<int32_t>> ids;  // the same as tokens
  // Of rule ll, by text: where the continuation begins, in characters (Unicode code points), or in
  // tokens for ids.
  std::vector<int64_t> from;
  int64_t gold = 0;  // the right text

  std::string prompt;                // of rule gen, not empty; or else
  std::vector<int32_t> prompt_ids;   // the same as tokens
  std::vector<std::string> answers;  // 1 to 4096, none empty: each is right
  uint64_t line = 0;                 // of the file, from 1

  bool holds_ids() const { return !ids.empty() || !prompt_ids.empty(); }
  // 0 of rule gen.
  int64_t choices() const { return static_cast<int64_t>(ids.empty() ? texts.size() : ids.size()); }
};

// Throws Error naming file and line for what is not of the format, does not fit the header, or has
// ids outside [0, vocab).  The item's line is left to the caller.
TaskItem read_task_item(const JsonObject& object, const TaskHeader& task, int64_t vocab);

}  // namespace kvcalib
