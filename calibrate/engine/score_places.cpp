// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/score_places.h"

namespace kvcalib {

ScorePlaces::ScorePlaces(std::span<const TokenTree> trees, std::span<TreeScores> scores,
                         size_t streams, bool divergences) {
  for (size_t i = 0; i < trees.size(); ++i) {
    const auto tokens = static_cast<size_t>(trees[i].tokens());
    scores[i].streams.resize(streams);
    for (size_t stream = 0; stream < streams; ++stream) {
      TokenScores& own = scores[i].streams[stream];
      own.surprise.resize(tokens);
      if (stream == 0 || !divergences) continue;
      own.divergence.resize(tokens);
      own.reverse_divergence.resize(tokens);
      own.same_top.resize(tokens);
    }
    places_.push_back({&scores[i], trees[i].tokens()});
  }
}

}  // namespace kvcalib
