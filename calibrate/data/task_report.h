// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "calibrate/data/input_file.h"

namespace kvcalib {

// A row of a report, and the task file, below a folder that the caller knows, which holds its
// items.
struct ReportRow {
  std::string task, dataset;
  std::string follows;  // the public config that the prompts are taken from; may be empty
  std::string file;     // relative, and not out of that folder
};

// A report file as configs/tasks/README.md describes it: task files that make one table, in its
// order.
struct TaskReport {
  HashedFile source;
  std::vector<ReportRow> rows;  // at least 1; no two of the same task or file
};

// Whether a file says of itself that it is a report; nothing else of it is looked at.  Throws Error
// when it cannot be read.
bool is_task_report(const std::filesystem::path& path);

// Throws Error naming file, row and key for what is not of the format.
TaskReport read_task_report(const std::filesystem::path& path);

}  // namespace kvcalib
