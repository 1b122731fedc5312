// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/engine/layer_profile.h"
#include "calibrate/engine/tree_scores.h"

namespace kvcalib {

// The errors that a sampled tree saw: by stream and layer, of every kv head the squared errors of
// key, value and both with the size that is behind them (SquaredError), then of the layer's output.
struct TreeErrors {
  // Doubles of one stream and layer.
  static int64_t width(int64_t kv_heads) { return 4 * kv_heads + 2; }

  int64_t tree = 0;
  std::vector<double> values;  // [streams, layers, width]; zeros of streams in 16 bits

  bool operator==(const TreeErrors&) const = default;
};

// What one reading of the layers gave, of a rank or of all.
struct GroupScores {
  std::vector<TreeScores> trees;        // in their order
  std::vector<TreeErrors> errors;       // of those that were sampled
  std::vector<StreamProfile> profiles;  // by stream: codes alone

  bool operator==(const GroupScores&) const = default;
};

// What the next ranks' trees, or those of a later reading, add.
void append(GroupScores& scores, GroupScores&& next);

// By stream, the codes with the errors of all sampled trees, summed in their order.
std::vector<StreamProfile> whole_profiles(const GroupScores& scores, int64_t layers,
                                          int64_t kv_heads);

// For messages between ranks and for files: equal scores have equal bytes.
std::string to_bytes(const GroupScores& scores);
// Throws Error when the bytes, which are of `origin`, are damaged.
GroupScores group_scores_of(std::string_view bytes, const std::string& origin);

}  // namespace kvcalib
