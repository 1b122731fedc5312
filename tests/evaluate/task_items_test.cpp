// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/task_items.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/data/data_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;
using Ids = std::vector<int32_t>;

constexpr int64_t kVocab = 2048;
constexpr int64_t kLength = 2048;

const Tokenizer& tokenizer() {
  static const Tokenizer kTokenizer(tiny_tokenizer());
  return kTokenizer;
}

TaskFile task_of(std::vector<TaskItem> items, ScoringRule rule = ScoringRule::kPerToken) {
  TaskFile task;
  task.file.path = "rte.jsonl";
  task.rule = rule;
  task.items = std::move(items);
  for (size_t i = 0; i < task.items.size(); ++i) task.items[i].line = i + 2;
  return task;
}

TaskItem item_of(const std::vector<std::string>& texts, const std::vector<int64_t>& from = {}) {
  TaskItem item;
  item.id = "a";
  item.texts = texts;
  item.from = from;
  return item;
}

TaskItem item_of_ids(const std::vector<Ids>& ids, const std::vector<int64_t>& from = {}) {
  TaskItem item;
  item.id = "a";
  item.ids = ids;
  item.from = from;
  return item;
}

TokenItem tokens_of(const TaskItem& item, ScoringRule rule = ScoringRule::kPerToken,
                    int64_t length = kLength) {
  return tokenize_task(task_of({item}, rule), &tokenizer(), kVocab, length).items.front();
}

std::string refusal(const TaskItem& item, ScoringRule rule = ScoringRule::kPerToken,
                    int64_t vocab = kVocab, int64_t length = kLength) {
  return message_of([&] { tokenize_task(task_of({item}, rule), &tokenizer(), vocab, length); });
}

// Where the continuation begins in `text`, which it takes from character `from` on.
int64_t first_scored(const std::string& text, int64_t from) {
  const TaskItem item = item_of({text, "another text"}, {from, 7});
  return tokens_of(item, ScoringRule::kSum).texts.front().first_scored;
}

TEST(TaskItems, CutWholeTextsAndScoreAllButTheFirstToken) {
  TaskItem item = item_of({"The cat sat.", "They walked on."});
  item.group = "passage";
  item.gold = 1;
  for (const ScoringRule rule : {ScoringRule::kPerToken, ScoringRule::kPerPredicted}) {
    const TokenItem tokens = tokens_of(item, rule);
    EXPECT_EQ(tokens.id, "a");
    EXPECT_EQ(tokens.cluster, "passage");
    EXPECT_EQ(tokens.gold, 1);
    EXPECT_FALSE(tokens.cut);
    ASSERT_EQ(tokens.texts.size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_EQ(tokens.texts[i].ids, tokenizer().encode(item.texts[i]));
      EXPECT_EQ(tokens.texts[i].first_scored, 1);
    }
  }
}

TEST(TaskItems, BeginContinuationsAtATokensEdge) {
  // BOS, The, c, at, sat
  EXPECT_EQ(first_scored("The cat sat", 7), 4);
  // The space before the continuation is a token of its own where the text ends behind it, and
  // belongs to the next word's token where it goes on: BOS, one, two.
  EXPECT_EQ(first_scored("one two", 4), 2);
  EXPECT_EQ(first_scored("one two", 3), 2);
  // Inside a word: BOS, They, w, al, ked.
  EXPECT_EQ(first_scored("They walked", 8), 4);
  EXPECT_EQ(first_scored("one two", 0), 1);
}

TEST(TaskItems, CountCharactersNotBytes) {
  // Each accented letter is two bytes, and two tokens here.
  const std::string text = "\u00e9\u00e8\u00ea one two";
  EXPECT_EQ(first_scored(text, 7),
            static_cast<int64_t>(tokenizer().encode("\u00e9\u00e8\u00ea one").size()));
  EXPECT_EQ(first_scored(text, 2), static_cast<int64_t>(tokenizer().encode("\u00e9\u00e8").size()));
}

// Of every place in random texts: what stands before the continuation is, as tokens, the longest
// beginning that the whole text and the text before it have in common.
TEST(TaskItems, BeginContinuationsWhereTextAndContextPart) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::string text = prose(seed, 60);
    const Ids whole = tokenizer().encode(text);
    for (size_t from = 0; from < text.size(); ++from) {
      const Ids context = tokenizer().encode(text.substr(0, from));
      int64_t common = 0;
      while (common < static_cast<int64_t>(std::min(whole.size(), context.size())) &&
             whole[common] == context[common])
        ++common;
      if (common == static_cast<int64_t>(whole.size())) continue;  // nothing is left to score
      ASSERT_EQ(first_scored(text, static_cast<int64_t>(from)), common) << text << from;
    }
  }
}

TEST(TaskItems, LoseTheirBeginningWhereTooLong) {
  const std::string text = prose(1, 200);
  const Ids whole = tokenizer().encode(text);
  const auto count = static_cast<int64_t>(whole.size());
  for (const int64_t length : {int64_t{2}, int64_t{3}, int64_t{20}, count - 1}) {
    const TaskFile task = task_of({item_of({text, "one"}), item_of({"one", "two"})});
    const TaskTokens tokens = tokenize_task(task, &tokenizer(), kVocab, length);
    Ids expected{whole.front()};
    expected.insert(expected.end(), whole.end() - (length - 1), whole.end());
    EXPECT_EQ(tokens.items[0].texts[0].ids, expected);
    EXPECT_EQ(tokens.items[0].texts[0].first_scored, 1);
    EXPECT_TRUE(tokens.items[0].cut);
    EXPECT_FALSE(tokens.items[1].cut);
    EXPECT_EQ(tokens.cut_texts, 1);
    EXPECT_EQ(tokens.cut_items, 1);
    const Ids one = tokenizer().encode("one"), two = tokenizer().encode("two");
    EXPECT_EQ(tokens.tokens, static_cast<int64_t>(expected.size() + 2 * one.size() + two.size()));
  }
  EXPECT_FALSE(tokens_of(item_of({text, "one"}), ScoringRule::kPerToken, count).cut);
}

TEST(TaskItems, ScoreTheSameContinuationWhereCut) {
  const std::string context = prose(2, 300);
  const std::string text = context + " The cat sat on it.";
  const TaskItem item = item_of({text, "one two"}, {static_cast<int64_t>(context.size()), 3});
  const TextTokens whole = tokens_of(item, ScoringRule::kSum).texts.front();
  const int64_t scored = static_cast<int64_t>(whole.ids.size()) - whole.first_scored;
  for (int64_t length = 2; length < static_cast<int64_t>(whole.ids.size()); ++length) {
    const TextTokens cut = tokens_of(item, ScoringRule::kSum, length).texts.front();
    ASSERT_EQ(static_cast<int64_t>(cut.ids.size()), length);
    ASSERT_EQ(cut.ids.front(), whole.ids.front());
    ASSERT_EQ(length - cut.first_scored, std::min(scored, length - 1));
  }
}

TEST(TaskItems, TakeIdsAsTheyAre) {
  const TaskFile task = task_of({item_of_ids({{1, 5, 6}, {1, 7}})});
  const TaskTokens tokens = tokenize_task(task, nullptr, kVocab, kLength);
  EXPECT_EQ(tokens.items[0].texts[0].ids, (Ids{1, 5, 6}));
  EXPECT_EQ(tokens.items[0].texts[1].first_scored, 1);
  const TaskFile sums = task_of({item_of_ids({{1, 5, 6}, {1, 7}}, {2, 0})}, ScoringRule::kSum);
  const TaskTokens continued = tokenize_task(sums, nullptr, kVocab, kLength);
  EXPECT_EQ(continued.items[0].texts[0].first_scored, 2);
  EXPECT_EQ(continued.items[0].texts[1].first_scored, 1);
}

TEST(TaskItems, KeepTheBosThatTheFileStates) {
  TaskFile task = task_of({item_of_ids({{1, 5, 6, 7}, {1, 7}})});
  EXPECT_EQ(tokenize_task(task, nullptr, kVocab, 3).items[0].texts[0].ids, (Ids{5, 6, 7}));
  task.bos = 1;
  EXPECT_EQ(tokenize_task(task, nullptr, kVocab, 3).items[0].texts[0].ids, (Ids{1, 6, 7}));
}

TEST(TaskItems, AreTheSameForAnyNumberOfWorkers) {
  std::vector<TaskItem> items;
  for (uint64_t seed = 0; seed < 200; ++seed)
    items.push_back(item_of({prose(seed, 20 + seed), "one two"}, {5, 4}));
  const TaskFile task = task_of(items, ScoringRule::kSum);
  const TaskTokens alone = tokenize_task(task, &tokenizer(), kVocab, 60, 1);
  EXPECT_GT(alone.cut_items, 0);
  for (const int64_t workers : {2, 7}) {
    const TaskTokens tokens = tokenize_task(task, &tokenizer(), kVocab, 60, workers);
    EXPECT_EQ(tokens.cut_texts, alone.cut_texts);
    EXPECT_EQ(tokens.tokens, alone.tokens);
    for (size_t i = 0; i < items.size(); ++i) {
      for (size_t j = 0; j < 2; ++j) {
        ASSERT_EQ(tokens.items[i].texts[j].ids, alone.items[i].texts[j].ids);
        ASSERT_EQ(tokens.items[i].texts[j].first_scored, alone.items[i].texts[j].first_scored);
      }
    }
  }
}

TEST(TaskItems, NameTheFirstFaultWhicheverWorkerMeetsIt) {
  std::vector<TaskItem> items(300, item_of_ids({{1, 5}, {1, 6}}));
  for (size_t i = 50; i < items.size(); ++i) items[i] = item_of_ids({{1, 5}, {1}});
  const TaskFile task = task_of(items);
  for (int repetition = 0; repetition < 50; ++repetition) {
    ASSERT_PRED_FORMAT2(testing::IsSubstring, "rte.jsonl, line 52: text 1",
                        message_of([&] { tokenize_task(task, nullptr, kVocab, kLength, 4); }));
  }
}

TEST(TaskItems, RefuseTextsOfWhichNothingIsScored) {
  const TaskFile task = task_of({item_of_ids({{1, 5}, {1}})});
  EXPECT_HOLDS("rte.jsonl, line 2: text 1 has 1 tokens, of which none is scored",
               message_of([&] { tokenize_task(task, nullptr, kVocab, kLength); }));
}

TEST(TaskItems, RefuseIdsOutsideTheVocabulary) {
  EXPECT_HOLDS("rte.jsonl, line 2: text 0 has id",
               refusal(item_of({"The cat", "a"}), ScoringRule::kPerToken, 200));
  EXPECT_HOLDS("but the model's vocabulary has 200; is this the model's tokenizer?",
               refusal(item_of({"The cat", "a"}), ScoringRule::kPerToken, 200));
}

TEST(TaskItems, NeedATokenizerForTexts) {
  const TaskFile task = task_of({item_of({"one", "two"})});
  EXPECT_HOLDS("rte.jsonl: holds texts, which need a tokenizer; name the model's with --tokenizer",
               message_of([&] { tokenize_task(task, nullptr, kVocab, kLength); }));
  EXPECT_HOLDS("--length 1: expected 2 or more",
               refusal(item_of({"one", "two"}), ScoringRule::kPerToken, kVocab, 1));
}

}  // namespace
}  // namespace kvcalib
