// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/command/options.h"
#include "calibrate/data/input_file.h"
#include "calibrate/evaluate/reported_rows.h"

namespace kvcalib {

// A task file that is to be scored.
struct ListedTask {
  std::filesystem::path path;
  std::string row;  // of the report that names the file, which is its task too; else empty
};

// What --tasks names, in the order in which it is told.
struct TaskList {
  std::vector<ListedTask> tasks;
  std::optional<ReportedRows> report;
  std::optional<HashedFile> report_file;  // where there is a report
};

// Throws Error naming the file for what is not there or no report, and when no task file of a
// report is there; UsageError for two reports, and for a report or --data-root without the other.
TaskList list_tasks(const EvaluateOptions& options);

}  // namespace kvcalib
