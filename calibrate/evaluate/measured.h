// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/evaluate/divergence.h"
#include "calibrate/evaluate/layer_figures.h"
#include "calibrate/evaluate/reported_rows.h"
#include "calibrate/evaluate/task_scores.h"

namespace kvcalib {

// One of the streams that took the same tokens; the first is the model as it is, in 16 bits.
struct StreamInfo {
  std::string name,
      description;  // "int8", "int8 asymmetric of scales/, per rank (TurboMind v0.3.0)"
  bool is_compared_only = false;  // another format beside the runtime's: no gate judges it
};

// Random tokens and the same again, some tokens later.
struct CopyDistance {
  int64_t distance = 0;  // tokens
  TextMeasures measures;
};

// What one stream's format did to the layers.
struct ProfiledStream {
  size_t stream = 0;  // of Measured::streams
  double clipped = kUnknown;
  std::vector<LayerFigures> layers;
  std::vector<std::string> findings;
};

// What an evaluation measured; parts that were not asked for are empty.
struct Measured {
  std::vector<StreamInfo> streams;
  int64_t vocab = 0;
  // Whether a stream that changes nothing came out as the first, to the bit.
  std::optional<bool> is_control_zero;
  std::optional<TextMeasures> text;
  std::vector<CopyDistance> copy;
  std::vector<TaskScore> recall;  // scored as a task is: one row
  std::vector<TaskScore> tasks;
  std::optional<ReportedRows> report;  // that was asked for as a whole
  std::vector<ProfiledStream> profiles;
};

// Whether even the model as it is does worse in copying than equal odds for every token would.
bool cannot_copy(const CopyDistance& copy, int64_t vocab);

}  // namespace kvcalib
