// SPDX-License-Identifier: Apache-2.0
#pragma once

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

}  // namespace kvcalib
