// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/item_tree.h"

#include <algorithm>
#include <utility>

#include "calibrate/evaluate/prefix_tree.h"

namespace kvcalib {
namespace {

// Calls `action` with the place in the tree of each of a text's scored tokens, in their order.
template <typename Action>
void for_each_scored(const TokenTree& tree, const TextInTree& text, Action action) {
  int64_t unscored = text.first_scored;
  for (const int64_t index : text.nodes) {
    const TokenTree::Node& node = tree.nodes[index];
    const int64_t skipped = std::min(unscored, node.count);
    unscored -= skipped;
    for (int64_t token = skipped; token < node.count; ++token) action(node.first + token);
  }
}

std::vector<PrefixTree::Ids> ids_of(const TokenItem& item) {
  std::vector<PrefixTree::Ids> texts;
  for (const TextTokens& text : item.texts) texts.emplace_back(text.ids);
  return texts;
}

ScoredTree laid_out(const PrefixTree& texts, std::span<const TokenItem> items) {
  PrefixTree::Laid laid = texts.lay();
  ScoredTree scored{std::move(laid.tree), {}};
  size_t next = 0;
  for (const TokenItem& item : items) {
    ScoredItem& placed =
        scored.items.emplace_back(ScoredItem{item.id, item.cluster, item.gold, item.cut, {}});
    for (const TextTokens& text : item.texts) {
      placed.texts.push_back({std::move(laid.paths[next++]), static_cast<int64_t>(text.ids.size()),
                              text.first_scored});
      for_each_scored(scored.tree, placed.texts.back(),
                      [&](int64_t token) { scored.tree.scored[token] = 1; });
    }
  }
  return scored;
}

}  // namespace

ScoredTree tree_of(std::span<const TokenItem> items, bool share) {
  PrefixTree texts(share);
  for (const TokenItem& item : items) {
    for (const TextTokens& text : item.texts) texts.add(text.ids);
  }
  return laid_out(texts, items);
}

std::vector<ScoredTree> trees_of(std::span<const TokenItem> items, const TreeLayout& layout) {
  std::vector<ScoredTree> trees;
  for (size_t first = 0; first < items.size();) {
    PrefixTree texts(layout.share);
    const std::string& cluster = items[first].cluster;
    size_t end = first;
    do {
      for (const PrefixTree::Ids text : ids_of(items[end])) texts.add(text);
      ++end;
    } while (end < items.size() && !cluster.empty() && items[end].cluster == cluster &&
             texts.tokens() + texts.tokens_added_by(ids_of(items[end])) <= layout.most_tokens);
    trees.push_back(laid_out(texts, items.subspan(first, end - first)));
    first = end;
  }
  return trees;
}

double text_sum(const TokenTree& tree, const TextInTree& text, std::span<const float> surprises) {
  double sum = 0;
  for_each_scored(tree, text, [&](int64_t token) { sum += static_cast<double>(surprises[token]); });
  return sum;
}

}  // namespace kvcalib
