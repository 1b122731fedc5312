// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "calibrate/engine/token_tree.h"

namespace kvcalib {

// Texts laid into a tree one after the other, common beginnings once.
class PrefixTree {
 public:
  using Ids = std::span<const int32_t>;

  // Without `share` every text becomes a root of its own.
  explicit PrefixTree(bool share) : share_(share) {}

  // Adds a text of at least one token; its ids must stay where they are until the end.
  void add(Ids text);
  int64_t tokens() const { return tokens_; }
  // How many tokens adding these would bring.
  int64_t tokens_added_by(std::vector<Ids> texts) const;

  // The tree, nothing of it scored, and the nodes of every text in the order in which they came.
  struct Laid {
    TokenTree tree;
    std::vector<std::vector<int64_t>> paths;
  };
  Laid lay() const;

 private:
  struct Node {
    Ids ids;
    std::vector<int64_t> children;  // in the order in which they came
  };

  // The one whose ids begin with `id`; -1: none.
  int64_t child_with(const std::vector<int64_t>& children, int32_t id) const;
  std::vector<int64_t>& children_of(int64_t node) {
    return node < 0 ? roots_ : nodes_[node].children;
  }
  void split(int64_t node, size_t at);
  int64_t common_with(Ids text) const;
  std::vector<int64_t> path_of(size_t text) const;

  bool share_;
  std::vector<Node> nodes_;
  std::vector<int64_t> roots_;
  std::vector<Ids> texts_;
  int64_t tokens_ = 0;
};

}  // namespace kvcalib
