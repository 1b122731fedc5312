// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/stream_scores.h"

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
                                    std::span<const at::Tensor> hidden) {
  std::vector<TakenTrees> parts;
  int64_t row = 0;
  for (size_t tree = 0; tree < trees.size(); ++tree) {
    const int64_t last = row + trees[tree].tokens();
    std::vector<size_t> streams;
    for (size_t stream = 0; stream < hidden.size(); ++stream)
      if (last <= hidden[stream].size(0)) streams.push_back(stream);
    if (parts.empty() || parts.back().streams != streams)
      parts.push_back({trees.subspan(tree, 0), tree, row, 0, std::move(streams)});
    TakenTrees& part = parts.back();
    part.trees = trees.subspan(part.first_tree, tree + 1 - part.first_tree);
    part.rows = last - part.first_row;
    row = last;
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

// The scores of a block's targets under one stream.
void keep(std::span<const Target> targets, size_t stream, const at::Tensor& surprises,
          ScorePlaces& places) {
  const at::Tensor host = surprises.cpu();
  const float* const values = host.const_data_ptr<float>();
  for (size_t i = 0; i < targets.size(); ++i)
    places.set(targets[i].token, stream,
               [&](TokenScores& scores, size_t at) { scores.surprise[at] = values[i]; });
}

void keep(std::span<const Target> targets, int64_t first_slot, size_t stream,
          const RowDivergences& divergences, const at::Tensor& same_top, ScorePlaces& places) {
  const at::Tensor forward = divergences.forward.cpu(), reverse = divergences.reverse.cpu();
  const at::Tensor same = same_top.cpu();
  for (const Target& target : targets) {
    const auto row = target.slot - first_slot;
    places.set(target.token, stream, [&](TokenScores& scores, size_t at) {
      scores.divergence[at] = forward.const_data_ptr<float>()[row];
      scores.reverse_divergence[at] = reverse.const_data_ptr<float>()[row];
      scores.same_top[at] = same.const_data_ptr<bool>()[row] ? 1 : 0;
    });
  }
}

void score_part(const OutputHead& head, const TakenTrees& part, std::span<const at::Tensor> hidden,
                bool divergences, std::vector<TreeScores>& scores) {
  const ScoreTargets targets = score_targets(part.trees);
  ScorePlaces places(part, scores, divergences);
  std::vector<at::Tensor> own;
  for (const size_t stream : part.streams)
    own.push_back(hidden[stream].narrow(0, part.first_row, part.rows));
  const at::Device device = own.front().device();
  size_t next = 0;  // target
  head.run(
      own, to_device(targets.rows, device),
      [&](int64_t first_slot, const std::vector<at::Tensor>& logits) {
        const int64_t last_slot = first_slot + logits.front().size(0);
        std::vector<int64_t> rows, ids;
        const size_t begin = next;
        for (; next < targets.targets.size() && targets.targets[next].slot < last_slot; ++next) {
          rows.push_back(targets.targets[next].slot - first_slot);
          ids.push_back(targets.targets[next].id);
        }
        const auto block = std::span(targets.targets).subspan(begin, next - begin);
        const at::Tensor row_index = to_device(rows, device), id_index = to_device(ids, device);
        const RowScores exact = score_rows(logits.front());
        keep(block, 0, surprises(logits.front(), exact, row_index, id_index), places);
        for (size_t stream = 1; stream < logits.size(); ++stream) {
          const RowScores found = score_rows(logits[stream]);
          keep(block, stream, surprises(logits[stream], found, row_index, id_index), places);
          if (divergences)
            keep(block, first_slot, stream,
                 kvcalib::divergences(logits.front(), exact, logits[stream], found),
                 exact.top.eq(found.top), places);
        }
      });
}

}  // namespace

std::vector<TreeScores> score_streams(const OutputHead& head, std::span<const TokenTree> trees,
                                      std::span<const at::Tensor> hidden, bool divergences) {
  std::vector<TreeScores> scores(trees.size());
  for (const TakenTrees& part : taken_trees(trees, hidden))
    score_part(head, part, hidden, divergences, scores);
  return scores;
}

}  // namespace kvcalib
