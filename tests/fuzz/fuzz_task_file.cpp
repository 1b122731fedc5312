// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/task_file.h"
#include "calibrate/evaluate/item_tree.h"
#include "calibrate/evaluate/task_items.h"
#include "tests/fuzz/memory_file.h"

namespace kvcalib {
namespace {

constexpr int64_t kVocab = 100;
constexpr int64_t kLength = 16;

int64_t scored_tokens(const TextInTree& text, const TokenTree& tree) {
  const std::vector<float> ones(tree.ids.size(), 1);
  return static_cast<int64_t>(text_sum(tree, text, ones));
}

void check_trees(const TaskTokens& tokens, bool share) {
  size_t items = 0;
  for (const ScoredTree& scored : trees_of(tokens.items, {share, 64})) {
    for (const ScoredItem& item : scored.items) {
      for (const TextInTree& text : item.texts)
        require(scored_tokens(text, scored.tree) == text.tokens - text.first_scored);
    }
    items += scored.items.size();
  }
  require(items == tokens.items.size());
}

}  // namespace

// A task file; of one with ids the trees too.
void fuzz(std::string_view bytes) {
  static const MemoryFile kFile;
  const TaskFile task = read_task_file(kFile.hold(bytes), kVocab);
  require(!task.items.empty());
  for (const TaskItem& item : task.items) {
    require(!item.id.empty() && item.choices() >= 2);
    require(item.gold >= 0 && item.gold < item.choices());
    require(task.rule != ScoringRule::kSum ||
            item.from.size() == static_cast<size_t>(item.choices()));
  }
  if (!task.holds_ids()) return;
  const TaskTokens tokens = tokenize_task(task, nullptr, kVocab, kLength, 1);
  for (const bool share : {true, false}) check_trees(tokens, share);
}

}  // namespace kvcalib
