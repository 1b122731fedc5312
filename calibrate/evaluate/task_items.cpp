// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/task_items.h"

#include <algorithm>
#include <exception>
#include <string_view>
#include <thread>

#include "calibrate/evaluate/token_limits.h"
#include "sharding/files/error.h"
#include "sharding/files/workers.h"

namespace kvcalib {
namespace {

// The bytes of the first `characters` characters of well-formed UTF-8.
std::string_view first_characters(std::string_view text, int64_t characters) {
  size_t end = 0;
  for (; end < text.size(); ++end) {
    const bool begins = (static_cast<unsigned char>(text[end]) & 0xC0) != 0x80;
    if (begins && characters-- == 0) break;
  }
  return text.substr(0, end);
}

// Cuts items of one task.
class ItemCutter {
 public:
  ItemCutter(const TaskFile& task, const Tokenizer* tokenizer, int64_t vocab, int64_t length)
      : task_(task),
        tokenizer_(tokenizer),
        vocab_(vocab),
        length_(length),
        bos_(task.holds_ids() ? task.bos : tokenizer->bos()) {}

  TokenItem cut(const TaskItem& item) {
    TokenItem tokens{item.id, item.group, item.gold, false, {}};
    for (int64_t text = 0; text < item.choices(); ++text) {
      tokens.texts.push_back(task_.holds_ids() ? given(item, text) : encoded(item, text));
      TextTokens& added = tokens.texts.back();
      check(item, text, added);
      const int64_t dropped = keep_end(added.ids, length_, bos_);
      if (dropped == 0) continue;
      added.first_scored = std::max<int64_t>(added.first_scored - dropped, 1);
      tokens.cut = true;
      ++cut_texts_;
    }
    return tokens;
  }

  int64_t cut_texts() const { return cut_texts_; }

 private:
  bool has_continuations() const { return task_.rule == ScoringRule::kSum; }

  TextTokens given(const TaskItem& item, int64_t text) const {
    const int64_t from = has_continuations() ? item.from[text] : 1;
    return {item.ids[text], std::max<int64_t>(from, 1)};
  }

  TextTokens encoded(const TaskItem& item, int64_t text) {
    TextTokens tokens{tokenizer_->encode(item.texts[text]), 1};
    if (!has_continuations()) return tokens;
    const std::vector<int32_t>& before =
        encoded_context(first_characters(item.texts[text], item.from[text]));
    const auto differing =
        std::mismatch(before.begin(), before.end(), tokens.ids.begin(), tokens.ids.end());
    tokens.first_scored = std::max<int64_t>(differing.first - before.begin(), 1);
    return tokens;
  }

  // Mostly the same for an item's texts.
  const std::vector<int32_t>& encoded_context(std::string_view context) {
    if (!has_context_ || context != context_) {
      context_ = context;
      context_ids_ = tokenizer_->encode(context);
      has_context_ = true;
    }
    return context_ids_;
  }

  void check(const TaskItem& item, int64_t text, const TextTokens& tokens) const {
    const auto outside = std::find_if(tokens.ids.begin(), tokens.ids.end(),
                                      [&](int32_t id) { return id < 0 || id >= vocab_; });
    if (outside != tokens.ids.end()) {
      const std::string piece =
          tokenizer_ == nullptr
              ? ""
              : concat(" ('", tokenizer_->piece(*outside), "') of ", tokenizer_->model().string());
      throw Error(concat(task_.where(item), ": text ", text, " has id ", *outside, piece,
                         ", but the model's vocabulary has ", vocab_,
                         "; is this the model's tokenizer? Name it with --tokenizer"));
    }
    if (tokens.first_scored < static_cast<int64_t>(tokens.ids.size())) return;
    throw Error(concat(task_.where(item), ": text ", text, " has ", tokens.ids.size(),
                       " tokens, of which none is scored; expected one or more behind ",
                       has_continuations() ? "the place where 'from' says" : "the first"));
  }

  const TaskFile& task_;
  const Tokenizer* tokenizer_;
  int64_t vocab_;
  int64_t length_;
  std::optional<int32_t> bos_;
  int64_t cut_texts_ = 0;
  bool has_context_ = false;
  std::string context_;
  std::vector<int32_t> context_ids_;
};

}  // namespace

TaskTokens tokenize_task(const TaskFile& task, const Tokenizer* tokenizer, int64_t vocab,
                         int64_t length, int64_t workers) {
  if (length < 2)
    throw Error(concat("--length ", length, ": expected 2 or more, so that a token is scored"));
  check_tokenizer(task, tokenizer);
  TaskTokens tokens;
  tokens.items.resize(task.items.size());
  std::vector<std::exception_ptr> failures(task.items.size());
  std::vector<ItemCutter> cutters(workers, ItemCutter(task, tokenizer, vocab, length));
  run_workers(task.items.size(), workers, [&](int64_t worker, size_t item) {
    try {
      tokens.items[item] = cutters[worker].cut(task.items[item]);
    } catch (...) {
      failures[item] = std::current_exception();
    }
    return true;
  });
  // That of the first item, whoever met one first.
  for (const std::exception_ptr& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  for (const ItemCutter& cutter : cutters) tokens.cut_texts += cutter.cut_texts();
  for (const TokenItem& item : tokens.items) {
    if (item.cut) ++tokens.cut_items;
    for (const TextTokens& text : item.texts)
      tokens.tokens += static_cast<int64_t>(text.ids.size());
  }
  return tokens;
}

int64_t tokenizing_workers() {
  return std::clamp<int64_t>(std::thread::hardware_concurrency(), 1, 64);
}

}  // namespace kvcalib
