// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/data/task_header.h"

namespace kvcalib {

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

// Throws Error naming file and line for what is not of the format, does not fit the header, or has
// ids outside [0, vocab).  The item's line is left to the caller.
TaskItem read_task_item(const JsonObject& object, const TaskHeader& task, int64_t vocab);

}  // namespace kvcalib
