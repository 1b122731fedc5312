// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/reported_rows.h"

#include <algorithm>
#include <cmath>

namespace kvcalib {

size_t ReportedRows::present() const {
  return static_cast<size_t>(std::count_if(rows.begin(), rows.end(),
                                           [](const ReportedRow& row) { return !row.is_missing; }));
}

Estimate mean_difference(const ReportedRows& report, std::span<const TaskScore> tasks,
                         size_t stream) {
  const auto count = static_cast<double>(report.present());
  double sum = 0, squares = 0;
  for (const TaskScore& task : tasks.subspan(report.first, report.present())) {
    const Estimate& difference = task.streams[stream].difference;
    sum += difference.value;
    squares += difference.error * difference.error;
  }
  return {sum / count, std::sqrt(squares) / count};
}

}  // namespace kvcalib
