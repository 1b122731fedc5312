// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
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

// Keys that a block's nodes attend to, for each token that it may have: GPUs gather them.
inline constexpr int64_t kMostKeysPerToken = 4;

// The trees in blocks of up to `most_tokens` tokens, and as many keys as kMostKeysPerToken allows;
// a larger tree on its own.  Trees of one node
// stand only beside such of the same length: windows, which GPUs take through another kernel than
// trees, so that the bits of a tree do not depend on what is beside it.  A block ends at each of
// `ends`, which name trees.
std::vector<TreeBlock> tree_blocks(std::span<const TokenTree> trees, int64_t most_tokens,
                                   std::span<const int64_t> ends);

// The blocks [first, last) of a rank: neighbours, with about as many tokens as those of any other.
std::pair<int64_t, int64_t> blocks_of_rank(std::span<const TreeBlock> blocks, int64_t rank,
                                           int64_t ranks);

}  // namespace kvcalib
