// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "calibrate/engine/output_head.h"
#include "calibrate/engine/token_tree.h"
#include "calibrate/engine/tree_scores.h"

namespace kvcalib {

// What streams say of the tokens of trees, laid end to end: `hidden` by stream, the last layer's
// output [rows, hidden], of all trees in the first stream, of the first whole trees in the others,
// which say nothing of the rest.  All streams' logits of a block of rows are compared at once and
// forgotten.  Without `divergences`: surprises alone.
std::vector<TreeScores> score_streams(const OutputHead& head, std::span<const TokenTree> trees,
                                      std::span<const at::Tensor> hidden, bool divergences);

}  // namespace kvcalib
