// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "calibrate/evaluate/measured.h"

namespace kvcalib {

// An evaluation as it is told.  Nothing in it depends on devices, ranks or the clock.
struct Evaluation {
  std::string model;    // one line
  std::string runtime;  // "TurboMind v0.3.0"
  Measured measured;
  std::vector<std::string> verdict;  // sentences
  std::vector<std::string> notes;
};

// For a terminal, at most 120 columns but for names and sentences that are longer.
std::string format_evaluation(const Evaluation& evaluation);

// The same as Markdown tables.
std::string evaluation_markdown(const Evaluation& evaluation);

// For machines; what is unknown or not finite is null.
std::string evaluation_json(const Evaluation& evaluation);

// A line for each item of all tasks: its texts' values and the choice of each stream.
std::string items_jsonl(std::span<const ScoredTask> tasks, std::span<const StreamInfo> streams);

}  // namespace kvcalib
