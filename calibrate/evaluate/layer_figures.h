// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "calibrate/engine/layer_profile.h"
#include "calibrate/evaluate/estimate.h"

namespace kvcalib {

// K or V of one layer and serving rank.  What the profile does not hold is kUnknown; without codes
// `lowest` is above `highest`.
struct TensorFigures {
  double clipped = kUnknown;  // share of the values
  int64_t lowest = 0, highest = -1;
  double error = kUnknown;  // of the attention output when only this goes through the format
  int64_t values = std::numeric_limits<int64_t>::max();  // that were seen: enough, unless told

  int64_t codes_used() const { return highest < lowest ? 0 : highest - lowest + 1; }
  double unused() const;  // share of the 256 codes that lie beyond the lowest and highest in use
};

struct RankFigures {
  TensorFigures keys, values;
  double both_error = kUnknown;
};

// A layer as the table shows it; errors are relative: sqrt(squared error / squared size).
struct LayerFigures {
  std::vector<RankFigures> ranks;
  double hidden_error = kUnknown;
};

// By layer.  Rank r of `ranks` holds kv heads [r K / ranks, (r + 1) K / ranks) of K.  Throws
// std::invalid_argument when `ranks` does not divide what a layer's profile holds.
std::vector<LayerFigures> layer_figures(const StreamProfile& profile, int64_t ranks);

// Clipped share of all values of K and V; kUnknown when none was counted.
double clipped_share(const StreamProfile& profile);

}  // namespace kvcalib
