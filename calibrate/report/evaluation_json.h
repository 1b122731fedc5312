// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include "calibrate/report/evaluation.h"

namespace kvcalib {

// For machines.  Scores, same_top_p, delta_p and clipped are in percent, divergences in nats; the
// errors of layers are shares.  What is unknown or not finite is null.
std::string evaluation_json(const Evaluation& evaluation);

// A line of JSON for each item of all tasks, in their order: task, id, gold, and by stream's name
// its texts' values and its choice (-1: none of the values is a number).
std::string items_jsonl(std::span<const ScoredTask> tasks, std::span<const StreamInfo> streams);

}  // namespace kvcalib
