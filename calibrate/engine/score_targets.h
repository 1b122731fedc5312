// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "calibrate/engine/token_tree.h"

namespace kvcalib {

// Which rows of hidden states predict tokens that are scored, trees laid end to end.
struct ScoreTargets {
  // A token that is scored.
  struct Target {
    int64_t slot = 0;   // of the row that predicts it, in `rows`
    int32_t id = 0;     // the token
    int64_t token = 0;  // its place in the tokens of all trees
  };

  std::vector<int64_t> rows;    // each once, ascending within a tree
  std::vector<Target> targets;  // by slot
};

ScoreTargets score_targets(std::span<const TokenTree> trees);

}  // namespace kvcalib
