// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kvcalib {

// Tokens of texts, of which what several have in common at their beginning stands once: a text is a
// path from a root on.  A single text is a tree of one node.
struct TokenTree {
  struct Node {
    int64_t parent = -1;  // its last token is the one before this node's first; -1: none, a root
    int64_t first = 0;    // of its tokens, which follow one another
    int64_t count = 0;    // at least 1
  };

  std::vector<int32_t> ids;     // the nodes' one after the other
  std::vector<Node> nodes;      // in the order of their tokens, parents before their children
  std::vector<uint8_t> scored;  // by token: is its probability wanted?  Never of a root's first

  int64_t tokens() const { return static_cast<int64_t>(ids.size()); }
};

// Of a single text of some length, its tokens: GPUs take such windows through a faster kernel, that
// has to be prepared for every length.  Else 0.
inline constexpr int64_t kShortestWindow = 256;
int64_t window_of(const TokenTree& tree);

// Of all the trees.
int64_t tokens_of(std::span<const TokenTree> trees);

// Keys that the nodes of a tree attend to, all together: each its ancestors' and its own.  Of a
// single text its tokens.
int64_t keys_of(const TokenTree& tree);

}  // namespace kvcalib
