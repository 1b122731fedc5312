// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/data/input_file.h"
#include "calibrate/data/task_item.h"

namespace kvcalib {

// A task file as configs/tasks/README.md describes it.
struct TaskFile : TaskHeader {
  HashedFile file;
  std::vector<TaskItem> items;  // at least 1

  bool holds_ids() const { return items.front().holds_ids(); }
  // "FILE, line 12"
  std::string where(const TaskItem& item) const;
};

// Reads a task file, of its items the first `most_items` alone where that is given; what stands
// behind them is not looked at.  Throws Error naming file and line for what is not of the format,
// and for ids outside [0, vocab).
TaskFile read_task_file(const std::filesystem::path& path, int64_t vocab,
                        std::optional<int64_t> most_items = {});

}  // namespace kvcalib
