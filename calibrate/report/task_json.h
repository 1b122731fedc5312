// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "calibrate/evaluate/measured.h"

namespace kvcalib {

// Rows with their streams; of the streams behind the first, all rows together.
nlohmann::ordered_json tasks_json(const std::vector<TaskScore>& tasks,
                                  const std::vector<StreamInfo>& infos);
nlohmann::ordered_json task_totals_json(const Measured& measured);

// All rows of a report, also those that are missing, and the mean differences of those that are
// not; null without a report.
nlohmann::ordered_json report_json(const Measured& measured);

// A line of JSON for each item of all tasks, in their order: task, id, gold, and by stream's name
// its texts' values and its choice (-1: none of the values is a number).  Where answers are
// generated, in the place of gold, values and choice: answers by stream's name, each with text,
// extracted, right, tokens (their number) and ended (by the model itself).
std::string items_jsonl(std::span<const ScoredTask> tasks, std::span<const StreamInfo> streams);

}  // namespace kvcalib
