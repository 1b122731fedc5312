// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "calibrate/engine/token_tree.h"

namespace kvcalib {

// A text as tokens, scored from one of them on: not from the first, which nothing predicts.
struct TextTokens {
  std::vector<int32_t> ids;  // more than `first_scored`
  int64_t first_scored = 1;  // at least 1
};

// An item of a task, its texts as tokens.
struct TokenItem {
  std::string id;
  std::string cluster;  // what it has in common with other items; empty: nothing
  int64_t gold = 0;     // the right text
  bool cut = false;     // a text of it was too long
  std::vector<TextTokens> texts;
};

// Where a text stands in a tree.
struct TextInTree {
  std::vector<int64_t> nodes;  // from a root on, all of whose tokens are the text's
  int64_t tokens = 0;          // of the text
  int64_t first_scored = 1;    // of them
};

// Where the texts of an item stand in a tree.
struct ScoredItem {
  std::string id;
  std::string cluster;
  int64_t gold = 0;
  bool cut = false;
  std::vector<TextInTree> texts;
};

// The texts of items that have beginnings in common, to be computed together.
struct ScoredTree {
  TokenTree tree;
  std::vector<ScoredItem> items;  // at least 1
};

// How texts are laid into trees.
struct TreeLayout {
  bool share = true;            // without: every text is a root of its own
  int64_t most_tokens = 16384;  // of a tree of several items
};

// One tree of all the items' texts: a node for each beginning that several have in common, to the
// token, and for what follows it; children behind their parent before its siblings, in the order in
// which their texts came.  Where no text ends, a node has no or several children.  A token is
// scored where a text scores it.
ScoredTree tree_of(std::span<const TokenItem> items, bool share = true);

// The items in their order: consecutive ones of one cluster in one tree as long as that has no more
// than `most_tokens` tokens, the others each in one of its own.
std::vector<ScoredTree> trees_of(std::span<const TokenItem> items, const TreeLayout& layout);

// The sum of the surprises (TokenScores, by token of the tree) of a text's scored tokens, in their
// order.
double text_sum(const TokenTree& tree, const TextInTree& text, std::span<const float> surprises);

}  // namespace kvcalib
