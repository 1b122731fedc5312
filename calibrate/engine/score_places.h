// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "calibrate/engine/token_tree.h"
#include "calibrate/engine/tree_scores.h"

namespace kvcalib {

// Where the scores of neighbouring trees' tokens go.
class ScorePlaces {
 public:
  // Makes room in `scores`, one for each of the trees, for so many streams; without `divergences`
  // for surprises alone.
  ScorePlaces(std::span<const TokenTree> trees, std::span<TreeScores> scores, size_t streams,
              bool divergences);

  // Calls set(scores of a stream, place in them) for a token, counted over all trees.  Quickest for
  // tokens in their order of trees.
  template <typename Set>
  void set(int64_t token, size_t stream, const Set& set) {
    while (token - before_ >= places_[tree_].tokens || token < before_) step(token);
    set(places_[tree_].scores->streams[stream], static_cast<size_t>(token - before_));
  }

 private:
  struct Place {
    TreeScores* scores;
    int64_t tokens;
  };
  void step(int64_t token) {
    if (token < before_) {
      before_ -= places_[--tree_].tokens;
    } else {
      before_ += places_[tree_++].tokens;
    }
  }

  std::vector<Place> places_;
  size_t tree_ = 0;
  int64_t before_ = 0;  // tokens of trees before it
};

}  // namespace kvcalib
