// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/score_targets.h"

#include <algorithm>

namespace kvcalib {
namespace {

// A scored token of a tree and the token that stands before it.
struct Step {
  int64_t before = 0, token = 0;
};

std::vector<Step> steps_of(const TokenTree& tree) {
  std::vector<Step> steps;
  for (const TokenTree::Node& node : tree.nodes) {
    for (int64_t token = node.first; token < node.first + node.count; ++token) {
      if (tree.scored[static_cast<size_t>(token)] == 0) continue;
      int64_t before = token - 1;
      if (token == node.first) {
        const TokenTree::Node& parent = tree.nodes[static_cast<size_t>(node.parent)];
        before = parent.first + parent.count - 1;
      }
      steps.push_back({before, token});
    }
  }
  std::stable_sort(steps.begin(), steps.end(),
                   [](const Step& a, const Step& b) { return a.before < b.before; });
  return steps;
}

}  // namespace

ScoreTargets score_targets(std::span<const TokenTree> trees) {
  ScoreTargets result;
  int64_t first = 0;
  for (const TokenTree& tree : trees) {
    int64_t last = -1;
    for (const Step& step : steps_of(tree)) {
      if (step.before != last) result.rows.push_back(first + step.before);
      last = step.before;
      result.targets.push_back({static_cast<int64_t>(result.rows.size()) - 1,
                                tree.ids[static_cast<size_t>(step.token)], first + step.token});
    }
    first += tree.tokens();
  }
  return result;
}

}  // namespace kvcalib
