// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/stream_scores.h"

#include <ATen/ops/empty.h>
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

// What was found of a part's rows and targets, left on the device until all is.
struct FoundScores {
  FoundScores(int64_t streams, const ScoreTargets& targets, const at::Device& device) {
    const auto rows = std::ssize(targets.rows);
    surprises = at::empty({streams, std::ssize(targets.targets)}, device);
    forward = at::empty({streams, rows}, device);
    reverse = at::empty({streams, rows}, device);
    top = at::empty({streams, rows}, at::device(device).dtype(at::kInt));
  }
  FoundScores cpu() const {
    FoundScores host(*this);
    for (at::Tensor* tensor : {&host.surprises, &host.forward, &host.reverse, &host.top})
      *tensor = tensor->cpu();
    return host;
  }

  at::Tensor surprises;              // [streams, targets]
  at::Tensor forward, reverse, top;  // [streams, rows]
};

// Rows that are held together, and their targets.
struct Block {
  int64_t first_row, rows, first_target, targets;

  void keep(const at::Tensor& found, int64_t stream, const at::Tensor& of_rows) const {
    found.select(0, stream).narrow(0, first_row, rows).copy_(of_rows);
  }
};

// Of scores in host memory.
void keep_surprises(const ScoreTargets& targets, const FoundScores& found, size_t stream,
                    ScorePlaces& places) {
  const at::Tensor own = found.surprises[static_cast<int64_t>(stream)];
  const float* const values = own.const_data_ptr<float>();
  for (size_t i = 0; i < targets.targets.size(); ++i)
    places.set(targets.targets[i].token, stream,
               [&](TokenScores& scores, size_t at) { scores.surprise[at] = values[i]; });
}

void keep_divergences(const ScoreTargets& targets, const FoundScores& found, size_t stream,
                      ScorePlaces& places) {
  const auto own = static_cast<int64_t>(stream);
  const at::Tensor forward = found.forward[own], reverse = found.reverse[own];
  const at::Tensor exact_top = found.top[0], top = found.top[own];
  for (const Target& target : targets.targets) {
    places.set(target.token, stream, [&](TokenScores& scores, size_t at) {
      scores.divergence[at] = forward.const_data_ptr<float>()[target.slot];
      scores.reverse_divergence[at] = reverse.const_data_ptr<float>()[target.slot];
      scores.same_top[at] = exact_top.const_data_ptr<int32_t>()[target.slot] ==
                                    top.const_data_ptr<int32_t>()[target.slot]
                                ? 1
                                : 0;
    });
  }
}

// `rows` and `ids`: of all targets, rows within their block.
void score_block(const std::vector<at::Tensor>& logits, const Block& block, const at::Tensor& rows,
                 const at::Tensor& ids, bool divergences, const FoundScores& found) {
  const auto targets = [&](const at::Tensor& all) {
    return all.narrow(0, block.first_target, block.targets);
  };
  const RowScores exact = score_rows(logits.front());
  for (int64_t stream = 0; stream < std::ssize(logits); ++stream) {
    const at::Tensor& of_stream = logits[static_cast<size_t>(stream)];
    const RowScores own = stream == 0 ? exact : score_rows(of_stream);
    targets(found.surprises[stream]).copy_(surprises(of_stream, own, targets(rows), targets(ids)));
    if (!divergences) continue;
    block.keep(found.top, stream, own.top);
    if (stream == 0) continue;
    const RowDivergences apart = kvcalib::divergences(logits.front(), exact, of_stream, own);
    block.keep(found.forward, stream, apart.forward);
    block.keep(found.reverse, stream, apart.reverse);
  }
}

FoundScores find_scores(const OutputHead& head, const ScoreTargets& targets,
                        std::span<const at::Tensor> hidden, bool divergences) {
  const at::Device device = hidden.front().device();
  const int64_t most = head.rows_at_once(std::ssize(hidden));
  std::vector<int64_t> slots, rows, ids;  // rows: within their block
  for (const Target& target : targets.targets) {
    slots.push_back(target.slot);
    rows.push_back(target.slot % most);
    ids.push_back(target.id);
  }
  const at::Tensor all_rows = to_device(rows, device), all_ids = to_device(ids, device);
  FoundScores found(std::ssize(hidden), targets, device);
  int64_t next = 0;  // target
  head.run(hidden, to_device(targets.rows, device),
           [&](int64_t first_slot, const std::vector<at::Tensor>& logits) {
             Block block{first_slot, logits.front().size(0), next, 0};
             const auto end =
                 std::lower_bound(slots.begin() + next, slots.end(), first_slot + block.rows);
             next = end - slots.begin();
             block.targets = next - block.first_target;
             score_block(logits, block, all_rows, all_ids, divergences, found);
           });
  return found.cpu();
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
