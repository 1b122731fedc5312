// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "calibrate/engine/token_tree.h"

namespace kvcalib {

// Neighbouring trees that run through a layer together.
struct TreeBlock {
  int64_t first = 0, last = 0;  // trees [first, last)
  int64_t tokens = 0;           // of all of them
  int64_t keys = 0;             // keys_of all of them
};

// The most that a block may have.
struct BlockLimits {
  int64_t tokens = 0;
  int64_t keys = std::numeric_limits<int64_t>::max();  // keys_of its trees
};

// The trees in blocks within the limits, a larger tree on its own.  Windows stand only
// beside such of the same length, so that the bits of a tree do not depend on what is beside it
// where GPUs take them through another kernel.  A block ends at each of `ends`, which name trees.
std::vector<TreeBlock> tree_blocks(std::span<const TokenTree> trees, const BlockLimits& most,
                                   std::span<const int64_t> ends);

// The blocks [first, last) of a rank: neighbours, with about as many tokens as those of any other.
std::pair<int64_t, int64_t> blocks_of_rank(std::span<const TreeBlock> blocks, int64_t rank,
                                           int64_t ranks);

}  // namespace kvcalib
