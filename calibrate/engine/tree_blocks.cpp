// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/tree_blocks.h"

#include <algorithm>

namespace kvcalib {

std::vector<TreeBlock> tree_blocks(std::span<const TokenTree> trees, const BlockLimits& most,
                                   std::span<const int64_t> ends) {
  std::vector<TreeBlock> blocks;
  for (int64_t index = 0; index < static_cast<int64_t>(trees.size()); ++index) {
    const TokenTree& tree = trees[static_cast<size_t>(index)];
    const int64_t keys = keys_of(tree);
    const bool begins = blocks.empty() || blocks.back().tokens + tree.tokens() > most.tokens ||
                        keys > most.keys - blocks.back().keys ||
                        window_of(trees[static_cast<size_t>(index - 1)]) != window_of(tree) ||
                        std::find(ends.begin(), ends.end(), index) != ends.end();
    if (begins) blocks.push_back({index, index, 0, 0});
    blocks.back().last = index + 1;
    blocks.back().tokens += tree.tokens();
    blocks.back().keys += keys;
  }
  return blocks;
}

std::pair<int64_t, int64_t> blocks_of_rank(std::span<const TreeBlock> blocks, int64_t rank,
                                           int64_t ranks) {
  int64_t all = 0;
  for (const TreeBlock& block : blocks) all += block.tokens;
  // A block is of the rank in whose share of the tokens its middle lies.
  const auto first_of = [&](int64_t of_rank) {
    int64_t before = 0, index = 0;
    for (; index < static_cast<int64_t>(blocks.size()); ++index) {
      const int64_t tokens = blocks[static_cast<size_t>(index)].tokens;
      if ((2 * before + tokens) * ranks >= 2 * all * of_rank) break;
      before += tokens;
    }
    return index;
  };
  return {first_of(rank),
          rank + 1 == ranks ? static_cast<int64_t>(blocks.size()) : first_of(rank + 1)};
}

}  // namespace kvcalib
