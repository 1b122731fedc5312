// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/token_tree.h"

#include <cstddef>

namespace kvcalib {

int64_t window_of(const TokenTree& tree) {
  return tree.nodes.size() == 1 && tree.tokens() >= kShortestWindow ? tree.tokens() : 0;
}

int64_t tokens_of(std::span<const TokenTree> trees) {
  int64_t tokens = 0;
  for (const TokenTree& tree : trees) tokens += tree.tokens();
  return tokens;
}

int64_t keys_of(const TokenTree& tree) {
  std::vector<int64_t> paths;  // by node
  int64_t keys = 0;
  for (const TokenTree::Node& node : tree.nodes) {
    const int64_t above = node.parent < 0 ? 0 : paths[static_cast<size_t>(node.parent)];
    paths.push_back(above + node.count);
    keys += paths.back();
  }
  return keys;
}

}  // namespace kvcalib
