// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/task_list.h"

#include "calibrate/data/windows.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/json_writer.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

void add_report(TaskList& list, const fs::path& path, const std::optional<fs::path>& folder) {
  if (list.report_file)
    throw UsageError(concat("--tasks: ", list.report_file->path.string(), " and ", path.string(),
                            " are reports; give one of them"));
  if (!folder)
    throw UsageError(concat("--tasks ", path.string(), ": is a report; say by --data-root DIR in ",
                            "which folder its task files are"));
  if (kind_behind(*folder) != FileKind::kDirectory)
    throw Error(concat("--data-root ", folder->string(), ": is not a directory"));
  TaskReport report = read_task_report(path);
  list.report_file = std::move(report.source);
  list.report = ReportedRows{escape_invalid_utf8(path.filename().string()), list.tasks.size(), {}};
  for (ReportRow& row : report.rows) {
    const fs::path file = *folder / row.file;
    const bool is_missing = kind_behind(file) == FileKind::kNothing;
    if (!is_missing)
      list.tasks.push_back({expand_data_paths({file.string()}, "--data-root").front(), row.task});
    list.report->rows.push_back({std::move(row), is_missing});
  }
  if (list.report->present() == 0)
    throw Error(concat(
        "--data-root ", folder->string(), ": holds none of the ", list.report->rows.size(),
        " task files that ", path.string(), " names, such as ", list.report->rows.front().file,
        "; scripts/make_tasks.py --data DATASETS --output ", folder->string(), " makes them"));
}

}  // namespace

TaskList list_tasks(const EvaluateOptions& options) {
  TaskList list;
  if (options.tasks.empty()) return list;
  for (const fs::path& path : expand_data_paths(options.tasks, "--tasks")) {
    if (is_task_report(path))
      add_report(list, path, options.data_root);
    else
      list.tasks.push_back({path, ""});
  }
  if (options.data_root && !list.report)
    throw UsageError(concat("--data-root ", options.data_root->string(), ": is for a report, but ",
                            "--tasks names none; give --tasks configs/tasks/report.json, or leave ",
                            "--data-root out"));
  return list;
}

}  // namespace kvcalib
