// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "calibrate/engine/output_head.h"
#include "calibrate/engine/stream_rows.h"
#include "calibrate/engine/token_tree.h"
#include "calibrate/engine/tree_scores.h"

namespace kvcalib {

// What streams say of the tokens of trees, laid end to end: `streams` have the last layer's output,
// the first of all trees, the others of whole trees, and say nothing of the rest.  All streams'
// logits of a block of rows are compared at once and forgotten.  Without `divergences`: surprises
// alone.
std::vector<TreeScores> score_streams(const OutputHead& head, std::span<const TokenTree> trees,
                                      std::span<const StreamRows> streams, bool divergences);

}  // namespace kvcalib
