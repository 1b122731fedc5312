// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "calibrate/engine/output_head.h"
#include "calibrate/engine/stream_rows.h"
#include "calibrate/engine/token_tree.h"
#include "calibrate/engine/tree_scores.h"

namespace kvcalib {

// What streams say of the tokens of trees, laid end to end.  All streams' logits of a block of rows
// are compared at once and forgotten.
class StreamScorer {
 public:
  // `streams` are to have the last layer's output: the first of all trees, the others of whole
  // trees, of the rest of which they say nothing.  Puts onto the device what will be asked. Without
  // `divergences`: surprises alone.  Head and trees outlive the scorer.
  StreamScorer(const OutputHead& head, std::span<const TokenTree> trees,
               std::span<const StreamRows> streams, bool divergences);
  ~StreamScorer();
  StreamScorer(const StreamScorer&) = delete;
  StreamScorer& operator=(const StreamScorer&) = delete;

  // When the output is there, or will be on the current stream.  Throws Error naming the stream of
  // which it is not finite.
  std::vector<TreeScores> scores() const;

 private:
  struct Part;

  const OutputHead& head_;
  std::vector<Part> parts_;
  const size_t trees_;
  const bool divergences_;
};

}  // namespace kvcalib
