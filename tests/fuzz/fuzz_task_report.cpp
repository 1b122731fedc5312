// SPDX-License-Identifier: Apache-2.0
#include <filesystem>

#include "calibrate/data/task_report.h"
#include "tests/fuzz/memory_file.h"

namespace kvcalib {

// A list of task files; what it names stays below its folder.
void fuzz(std::string_view bytes) {
  static const MemoryFile kFile;
  const std::filesystem::path file = kFile.hold(bytes);
  is_task_report(file);
  const TaskReport report = read_task_report(file);
  require(!report.rows.empty());
  for (const ReportRow& row : report.rows) {
    require(!row.task.empty() && !row.dataset.empty() && !row.file.empty());
    const std::filesystem::path place = ("/folder" / std::filesystem::path(row.file));
    require(place.lexically_normal().string().starts_with("/folder"));
  }
}

}  // namespace kvcalib
