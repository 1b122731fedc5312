// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/prefix_tree.h"

#include <algorithm>
#include <utility>

namespace kvcalib {
namespace {

size_t common_tokens(PrefixTree::Ids left, PrefixTree::Ids right) {
  return std::mismatch(left.begin(), left.end(), right.begin(), right.end()).first - left.begin();
}

}  // namespace

int64_t PrefixTree::child_with(const std::vector<int64_t>& children, int32_t id) const {
  const auto found = std::find_if(children.begin(), children.end(),
                                  [&](int64_t child) { return nodes_[child].ids.front() == id; });
  return found == children.end() ? -1 : *found;
}

void PrefixTree::split(int64_t node, size_t at) {
  Node tail{nodes_[node].ids.subspan(at), std::move(nodes_[node].children)};
  nodes_[node].ids = nodes_[node].ids.first(at);
  nodes_[node].children = {static_cast<int64_t>(nodes_.size())};
  nodes_.push_back(std::move(tail));
}

void PrefixTree::add(Ids text) {
  texts_.push_back(text);
  int64_t parent = -1;
  while (!text.empty()) {
    const int64_t child = share_ ? child_with(children_of(parent), text.front()) : -1;
    if (child < 0) {
      children_of(parent).push_back(static_cast<int64_t>(nodes_.size()));
      nodes_.push_back({text, {}});
      tokens_ += static_cast<int64_t>(text.size());
      return;
    }
    const size_t common = common_tokens(nodes_[child].ids, text);
    if (common < nodes_[child].ids.size()) split(child, common);
    text = text.subspan(common);
    parent = child;
  }
}

int64_t PrefixTree::common_with(Ids text) const {
  const Ids whole = text;
  const std::vector<int64_t>* children = &roots_;
  while (share_ && !text.empty()) {
    const int64_t child = child_with(*children, text.front());
    if (child < 0) break;
    const size_t common = common_tokens(nodes_[child].ids, text);
    text = text.subspan(common);
    if (common < nodes_[child].ids.size()) break;
    children = &nodes_[child].children;
  }
  return static_cast<int64_t>(whole.size() - text.size());
}

int64_t PrefixTree::tokens_added_by(std::vector<Ids> texts) const {
  // In the order of their ids a text has most in common with the one before it.
  std::sort(texts.begin(), texts.end(), [](Ids left, Ids right) {
    return std::lexicographical_compare(left.begin(), left.end(), right.begin(), right.end());
  });
  int64_t added = 0;
  Ids before;
  for (const Ids text : texts) {
    const auto among_them = share_ ? static_cast<int64_t>(common_tokens(before, text)) : 0;
    added += static_cast<int64_t>(text.size()) - std::max(common_with(text), among_them);
    before = text;
  }
  return added;
}

std::vector<int64_t> PrefixTree::path_of(size_t text) const {
  if (!share_) return {roots_[text]};
  std::vector<int64_t> path;
  const std::vector<int64_t>* children = &roots_;
  for (Ids left = texts_[text]; !left.empty();) {
    path.push_back(child_with(*children, left.front()));
    left = left.subspan(nodes_[path.back()].ids.size());
    children = &nodes_[path.back()].children;
  }
  return path;
}

PrefixTree::Laid PrefixTree::lay() const {
  Laid laid;
  std::vector<int64_t> place(nodes_.size());         // in the tree, by node
  std::vector<std::pair<int64_t, int64_t>> waiting;  // a node and the place of its parent
  const auto wait = [&](const std::vector<int64_t>& children, int64_t parent) {
    for (auto child = children.rbegin(); child != children.rend(); ++child)
      waiting.emplace_back(*child, parent);
  };
  for (wait(roots_, -1); !waiting.empty();) {
    const auto [node, parent] = waiting.back();
    waiting.pop_back();
    place[node] = static_cast<int64_t>(laid.tree.nodes.size());
    const Ids ids = nodes_[node].ids;
    laid.tree.nodes.push_back({parent, laid.tree.tokens(), static_cast<int64_t>(ids.size())});
    laid.tree.ids.insert(laid.tree.ids.end(), ids.begin(), ids.end());
    wait(nodes_[node].children, place[node]);
  }
  laid.tree.scored.resize(laid.tree.ids.size());
  for (size_t text = 0; text < texts_.size(); ++text) {
    std::vector<int64_t>& path = laid.paths.emplace_back(path_of(text));
    for (int64_t& node : path) node = place[node];
  }
  return laid;
}

}  // namespace kvcalib
