// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <memory>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

#include "calibrate/engine/score_pass.h"
#include "sharding/ranks/make_communicator.h"
#include "tests/engine/plain_forward.h"
#include "tests/engine/segment_case.h"
#include "tests/ranks/rank_threads.h"
#include "tests/streaming/plain_directory.h"

namespace kvcalib {

// Random ids below `vocab`; all tokens are scored but for roots' first.
inline TokenTree scored_tree(const std::vector<std::pair<int64_t, int64_t>>& nodes, uint32_t seed,
                             int32_t vocab = 50) {
  TokenTree tree = tree_of(nodes);
  std::mt19937 generator(seed);
  for (int32_t& id : tree.ids)
    id = static_cast<int32_t>(generator() % static_cast<uint32_t>(vocab));
  tree.scored.assign(tree.ids.size(), 1);
  for (const TokenTree::Node& node : tree.nodes)
    if (node.parent < 0) tree.scored[static_cast<size_t>(node.first)] = 0;
  return tree;
}

inline std::vector<TokenTree> scored_windows(int64_t count, int64_t length) {
  std::vector<TokenTree> trees;
  for (int64_t i = 0; i < count; ++i)
    trees.push_back(scored_tree({{-1, length}}, static_cast<uint32_t>(100 + i)));
  return trees;
}

// How trees are scored.
struct ScoreCase {
  int64_t micro_batch = 0;
  int64_t ranks = 1;
  bool divergences = true;
  int64_t first_tree = 0;
  int64_t sample_from = 0, sample_every = 1;
};

// Scores trees with a small model.
class ScoreRun {
 public:
  explicit ScoreRun(const ModelConfig& model = fixture::small_model())
      : directory_(folder_.path(), model, PlainDirectory::Order::kEngine) {}

  const PlainDirectory& directory() const { return directory_; }
  const ModelConfig& model() const { return directory_.config(); }

  // Of all ranks, one behind the other.
  GroupScores run(const std::vector<TokenTree>& trees, const std::vector<CacheStream>& streams,
                  const ScoreCase& given = {}) const {
    if (given.ranks == 1) return run_rank(trees, streams, given, {});
    std::vector<GroupScores> parts(static_cast<size_t>(given.ranks));
    run_rank_threads(given.ranks, [&](const Rank& rank, Rendezvous& rendezvous) {
      const auto communicator = make_communicator(rank, at::kCPU, rendezvous);
      parts[static_cast<size_t>(rank.index)] =
          pass(streams, given, *communicator)->run(trees, given.first_tree, {});
    });
    GroupScores scores;
    for (GroupScores& part : parts) append(scores, std::move(part));
    return scores;
  }

  std::unique_ptr<ScorePass> pass(const std::vector<CacheStream>& streams, const ScoreCase& given,
                                  Communicator& communicator) const {
    ScoreSettings settings{.streams = streams,
                           .rotation = plain_rotation(model()),
                           .length = 256,
                           .divergences = given.divergences,
                           .sample_from = given.sample_from,
                           .sample_every = given.sample_every};
    return std::make_unique<ScorePass>(directory_, std::move(settings),
                                       PassSettings{at::kCPU, given.micro_batch, 2}, communicator);
  }

 private:
  GroupScores run_rank(const std::vector<TokenTree>& trees, const std::vector<CacheStream>& streams,
                       const ScoreCase& given, const Rank& rank) const {
    Rendezvous rendezvous(rank);
    const auto communicator = make_communicator(rank, at::kCPU, rendezvous);
    return pass(streams, given, *communicator)->run(trees, given.first_tree, {});
  }

  const fixture::TemporaryFolder folder_;
  const PlainDirectory directory_;
};

}  // namespace kvcalib
