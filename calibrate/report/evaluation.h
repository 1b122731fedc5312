// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/evaluate/measured.h"
#include "calibrate/statistics/statistics_file.h"

namespace kvcalib {

// An evaluation as it is told.  Nothing in it depends on devices, ranks or the clock.
struct Evaluation {
  std::string model;    // one line
  std::string runtime;  // "TurboMind v0.3.0"
  // What was scored: data and task files, up to so many tokens a text, and of each kind so many.
  std::vector<DataFile> data = {};
  int64_t length = 0;
  std::optional<int64_t> limit = {};
  uint64_t seed = 0;  // of random tokens
  Measured measured;
  std::vector<std::string> verdict;  // sentences
  // Of the gates that were not kept, a sentence each; nothing where none was asked for.
  std::optional<std::vector<std::string>> failed_gates = {};
  std::vector<std::string> notes;
};

}  // namespace kvcalib
