// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/stream_scores.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "calibrate/engine/row_scores.h"
#include "calibrate/engine/score_places.h"
#include "calibrate/engine/score_targets.h"
#include "sharding/files/error.h"

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

}  // namespace

// Trees that the same streams take, and what is asked of them.
struct StreamScorer::Part {
  Part(const TakenTrees& taken, std::span<const StreamRows> all, const OutputHead& head)
      : trees(taken.trees), first_tree(taken.first_tree), targets(score_targets(taken.trees)) {
    for (const size_t stream : taken.streams) {
      hidden.push_back(all[stream].rows(taken.first_row, taken.rows));
      names.push_back(all[stream].name);
    }
    const at::Device device = hidden.front().device();
    const int64_t most = head.rows_at_once(std::ssize(hidden));
    std::vector<int64_t> within, token_ids;
    for (const Target& target : targets.targets) {
      slots.push_back(target.slot);
      within.push_back(target.slot % most);
      token_ids.push_back(target.id);
    }
    rows = to_device(targets.rows, device);
    rows_in_block = to_device(within, device);
    ids = to_device(token_ids, device);
  }

  FoundScores find(const OutputHead& head, bool divergences) const {
    FoundScores found(std::ssize(hidden), targets, rows.device());
    int64_t next = 0;  // target
    const auto take = [&](int64_t first_slot, const std::vector<at::Tensor>& logits) {
      Block block{first_slot, logits.front().size(0), next, 0};
      next = std::lower_bound(slots.begin() + next, slots.end(), first_slot + block.rows) -
             slots.begin();
      block.targets = next - block.first_target;
      score_block(logits, block, rows_in_block, ids, divergences, found);
    };
    if (const std::optional<size_t> stream = head.run(hidden, rows, take))
      throw Error(concat(names[*stream],
                         ": NaN or Inf in the hidden states behind the last layer; the model ",
                         "overflows its 16-bit type on this data, or its weights are damaged"));
    return found.cpu();
  }

  std::span<const TokenTree> trees;
  size_t first_tree;
  ScoreTargets targets;
  std::vector<int64_t> slots;      // of all targets
  at::Tensor rows;                 // that are asked for
  at::Tensor rows_in_block, ids;   // of all targets
  std::vector<at::Tensor> hidden;  // by stream
  std::vector<std::string> names;
};

StreamScorer::StreamScorer(const OutputHead& head, std::span<const TokenTree> trees,
                           std::span<const StreamRows> streams, bool divergences)
    : head_(head), trees_(trees.size()), divergences_(divergences) {
  for (const TakenTrees& part : taken_trees(trees, streams))
    parts_.emplace_back(part, streams, head);
}

StreamScorer::~StreamScorer() = default;

std::vector<TreeScores> StreamScorer::scores() const {
  std::vector<TreeScores> scores(trees_);
  for (const Part& part : parts_) {
    const size_t streams = part.hidden.size();
    ScorePlaces places(part.trees, std::span(scores).subspan(part.first_tree, part.trees.size()),
                       streams, divergences_);
    if (part.targets.targets.empty()) continue;
    const FoundScores found = part.find(head_, divergences_);
    for (size_t stream = 0; stream < streams; ++stream) {
      keep_surprises(part.targets, found, stream, places);
      if (stream > 0 && divergences_) keep_divergences(part.targets, found, stream, places);
    }
  }
  return scores;
}

}  // namespace kvcalib
