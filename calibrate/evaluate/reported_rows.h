// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "calibrate/data/task_report.h"
#include "calibrate/evaluate/estimate.h"
#include "calibrate/evaluate/task_scores.h"

namespace kvcalib {

struct ReportedRow : ReportRow {
  bool is_missing = false;  // its task file is not there
};

// A report whose rows are told one by one, also those whose task files are not there.
struct ReportedRows {
  std::string name;               // of the report's file
  size_t first = 0;               // of the tasks of a run: the first of its rows that are there
  std::vector<ReportedRow> rows;  // in its order, in which those that are there follow each other

  size_t present() const;
  bool is_whole() const { return present() == rows.size(); }
};

// The mean of a stream's differences over the rows that are there, each of the same weight; points.
// Its error takes rows for independent.
Estimate mean_difference(const ReportedRows& report, std::span<const TaskScore> tasks,
                         size_t stream);

}  // namespace kvcalib
