// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/stream_scores.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <utility>

#include "calibrate/engine/row_scores.h"
#include "calibrate/engine/score_targets.h"

namespace kvcalib {
namespace {

using Target = ScoreTargets::Target;

at::Tensor to_device(const std::vector<int64_t>& values, const at::Device& device) {
  return at::from_blob(const_cast<int64_t*>(values.data()), {static_cast<int64_t>(values.size())},
                       at::kLong)
      .clone()
      .to(device);
}

// Neighbouring trees that the same streams take.
struct TakenTrees {
  std::span<const TokenTree> trees;
  size_t first_tree = 0;
  int64_t first_row = 0, rows = 0;
  std::vector<size_t> streams;
};

std::vector<TakenTrees> taken_trees(std::span<const TokenTree> trees,
                                    std::span<const StreamRows> rows) {
  std::vector<TakenTrees> parts;
  int64_t row = 0;
  for (size_t tree = 0; tree < trees.size(); ++tree) {
    const int64_t tokens = trees[tree].tokens();
    std::vector<size_t> streams;
    for (size_t stream = 0; stream < rows.size(); ++stream)
      if (rows[stream].has(row, tokens)) streams.push_back(stream);
    if (parts.empty() || parts.back().streams != streams)
      parts.push_back({trees.subspan(tree, 0), tree, row, 0, std::move(streams)});
    TakenTrees& part = parts.back();
    part.trees = trees.subspan(part.first_tree, tree + 1 - part.first_tree);
    row += tokens;
    part.rows = row - part.first_row;
  }
  return parts;
}

// Where the scores of a token go.
class ScorePlaces {
 public:
  ScorePlaces(const TakenTrees& part, std::vector<TreeScores>& scores, bool divergences) {
    for (size_t i = 0; i < part.trees.size(); ++i) {
      const auto tokens = static_cast<size_t>(part.trees[i].tokens());
      TreeScores& tree = scores[part.first_tree + i];
      tree.streams.resize(part.streams.size());
      for (size_t stream = 0; stream < tree.streams.size(); ++stream) {
        TokenScores& own = tree.streams[stream];
        own.surprise.resize(tokens);
        if (stream == 0 || !divergences) continue;
        own.divergence.resize(tokens);
        own.reverse_divergence.resize(tokens);
        own.same_top.resize(tokens);
      }
      places_.push_back({&tree, static_cast<int64_t>(tokens)});
    }
  }

  // Calls with the scores of a stream and the token's place in them; tokens in their order of
  // trees.
  template <typename Set>
  void set(int64_t token, size_t stream, const Set& set) {
    while (token - before_ >= places_[tree_].tokens || token < before_) step(token);
    set(places_[tree_].scores->streams[stream], static_cast<size_t>(token - before_));
  }

 private:
  struct Place {
    TreeScores* scores;
    int64_t tokens;
  };
  void step(int64_t token) {
    if (token < before_) {
      before_ -= places_[--tree_].tokens;
    } else {
      before_ += places_[tree_++].tokens;
    }
  }

  std::vector<Place> places_;
  size_t tree_ = 0;
  int64_t before_ = 0;  // tokens of trees before it
};

// What was found of a part's rows and targets, left on the device until all is: by stream, a tensor
// for each block.
struct FoundScores {
  explicit FoundScores(size_t streams)
      : surprises(streams), forward(streams), reverse(streams), same_top(streams) {}

  std::vector<std::vector<at::Tensor>> surprises;                   // of targets
  std::vector<std::vector<at::Tensor>> forward, reverse, same_top;  // of rows
};

at::Tensor on_host(const std::vector<at::Tensor>& blocks) { return at::cat(blocks).cpu(); }

void keep_surprises(const ScoreTargets& targets, const FoundScores& found, size_t stream,
                    ScorePlaces& places) {
  const at::Tensor host = on_host(found.surprises[stream]);
  const float* const values = host.const_data_ptr<float>();
  for (size_t i = 0; i < targets.targets.size(); ++i)
    places.set(targets.targets[i].token, stream,
               [&](TokenScores& scores, size_t at) { scores.surprise[at] = values[i]; });
}

void keep_divergences(const ScoreTargets& targets, const FoundScores& found, size_t stream,
                      ScorePlaces& places) {
  const at::Tensor forward = on_host(found.forward[stream]);
  const at::Tensor reverse = on_host(found.reverse[stream]);
  const at::Tensor same = on_host(found.same_top[stream]);
  for (const Target& target : targets.targets) {
    places.set(target.token, stream, [&](TokenScores& scores, size_t at) {
      scores.divergence[at] = forward.const_data_ptr<float>()[target.slot];
      scores.reverse_divergence[at] = reverse.const_data_ptr<float>()[target.slot];
      scores.same_top[at] = same.const_data_ptr<bool>()[target.slot] ? 1 : 0;
    });
  }
}

FoundScores find_scores(const OutputHead& head, const ScoreTargets& targets,
                        std::span<const at::Tensor> hidden, bool divergences) {
  const at::Device device = hidden.front().device();
  std::vector<int64_t> slots, ids;
  for (const Target& target : targets.targets) {
    slots.push_back(target.slot);
    ids.push_back(target.id);
  }
  const at::Tensor all_slots = to_device(slots, device), all_ids = to_device(ids, device);
  FoundScores found(hidden.size());
  int64_t next = 0;  // target
  head.run(hidden, to_device(targets.rows, device),
           [&](int64_t first_slot, const std::vector<at::Tensor>& logits) {
             const int64_t begin = next, last_slot = first_slot + logits.front().size(0);
             next = std::lower_bound(slots.begin() + begin, slots.end(), last_slot) - slots.begin();
             const at::Tensor rows = all_slots.narrow(0, begin, next - begin).sub(first_slot);
             const at::Tensor block_ids = all_ids.narrow(0, begin, next - begin);
             const RowScores exact = score_rows(logits.front());
             for (size_t stream = 0; stream < logits.size(); ++stream) {
               const RowScores own = stream == 0 ? exact : score_rows(logits[stream]);
               found.surprises[stream].push_back(surprises(logits[stream], own, rows, block_ids));
               if (stream == 0 || !divergences) continue;
               const RowDivergences apart =
                   kvcalib::divergences(logits.front(), exact, logits[stream], own);
               found.forward[stream].push_back(apart.forward);
               found.reverse[stream].push_back(apart.reverse);
               found.same_top[stream].push_back(exact.top.eq(own.top));
             }
           });
  return found;
}

void score_part(const OutputHead& head, const TakenTrees& part, std::span<const StreamRows> streams,
                bool divergences, std::vector<TreeScores>& scores) {
  const ScoreTargets targets = score_targets(part.trees);
  ScorePlaces places(part, scores, divergences);
  if (targets.targets.empty()) return;
  std::vector<at::Tensor> own;
  for (const size_t stream : part.streams)
    own.push_back(streams[stream].rows(part.first_row, part.rows));
  const FoundScores found = find_scores(head, targets, own, divergences);
  for (size_t stream = 0; stream < own.size(); ++stream) {
    keep_surprises(targets, found, stream, places);
    if (stream > 0 && divergences) keep_divergences(targets, found, stream, places);
  }
}

}  // namespace

std::vector<TreeScores> score_streams(const OutputHead& head, std::span<const TokenTree> trees,
                                      std::span<const StreamRows> streams, bool divergences) {
  std::vector<TreeScores> scores(trees.size());
  for (const TakenTrees& part : taken_trees(trees, streams))
    score_part(head, part, streams, divergences, scores);
  return scores;
}

}  // namespace kvcalib
