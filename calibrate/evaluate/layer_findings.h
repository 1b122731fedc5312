// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/engine/layer_profile.h"
#include "calibrate/evaluate/estimate.h"

namespace kvcalib {

// K or V of one layer and serving rank.  kUnknown and 0 of what the profile does not hold.
struct TensorFigures {
  double clipped = kUnknown;         // share of the values
  int64_t lowest = 0, highest = -1;  // codes in use
  double error = kUnknown;  // of the attention output when only this goes through the format

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

// By layer.  Serving ranks hold kv heads as TurboMind deals them: `ranks` divides kv heads, or is a
// multiple of them, so that several ranks hold the same.
std::vector<LayerFigures> layer_figures(const StreamProfile& profile, int64_t ranks);

// Clipped share of all values of K and V; kUnknown when none was counted.
double clipped_share(const StreamProfile& profile);

// Sentences on what stands out, the most telling first, at most five: K or V that is clipped, that
// uses few of the codes, or whose error is far above that of other layers; and what this together
// looks like: scales of two layers or ranks exchanged, K and V swapped, a shifted zero point, a
// step of the wrong size.  Empty when nothing does.
std::vector<std::string> layer_findings(const std::vector<LayerFigures>& layers);

}  // namespace kvcalib
