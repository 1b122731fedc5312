// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/engine/score_pass.h"
#include "calibrate/engine/token_tree.h"

namespace kvcalib {

// Trees [first, last) of a run, which share a reading of the weights.
struct TreeGroup {
  int64_t first = 0, last = 0;
};

// Groups of up to `most_tokens` tokens, a longer tree on its own, of the trees from `first` on.
std::vector<TreeGroup> tree_groups(const std::vector<TokenTree>& trees, int64_t first,
                                   int64_t most_tokens);

// What every rank is to score, as the first rank tells the others.
struct ScoreRequest {
  std::vector<CacheStream> streams;
  int64_t length = 0;  // ScoreSettings::length
  bool divergences = true;
  int64_t sample_from = 0;
  std::vector<TreeGroup> groups;  // that are still to be done
  std::vector<TokenTree> trees;
};

// A request as a message; equal ones have equal bytes.
std::string to_bytes(const ScoreRequest& request);
ScoreRequest score_request_of(std::string_view bytes);

}  // namespace kvcalib
