// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/copy_texts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

using Ids = std::vector<int32_t>;

RandomTextRequest request_of(int64_t vocab, int64_t length = 2048) {
  RandomTextRequest request;
  request.vocab = vocab;
  request.bos = 1;
  request.length = length;
  return request;
}

int64_t scored_tokens(const TokenTree& tree) {
  return std::count(tree.scored.begin(), tree.scored.end(), 1);
}

std::vector<int64_t> distances_of(const RandomTextRequest& request) {
  std::vector<int64_t> distances;
  for (const CopyTexts& texts : copy_texts(request)) distances.push_back(texts.distance);
  return distances;
}

TEST(CopyTexts, SayTheSameTwiceAndScoreTheSecond) {
  for (const CopyTexts& texts : copy_texts(request_of(2048))) {
    for (const ScoredTree& text : texts.trees) {
      const Ids& ids = text.tree.ids;
      ASSERT_EQ(text.tree.tokens(), 2 * texts.distance + 1);
      ASSERT_EQ(ids.front(), 1);
      for (int64_t i = 1; i <= texts.distance; ++i) {
        ASSERT_EQ(ids[i], ids[i + texts.distance]);
        ASSERT_GE(ids[i], 128);
        ASSERT_LT(ids[i], 1920);
        ASSERT_FALSE(text.tree.scored[i]);
        ASSERT_TRUE(text.tree.scored[i + texts.distance]);
      }
      ASSERT_EQ(text.items.size(), 1u);
      ASSERT_EQ(text.items.front().texts.size(), 1u);
      ASSERT_EQ(text.items.front().texts.front().first_scored, texts.distance + 1);
    }
  }
}

TEST(CopyTexts, FitTheLength) {
  EXPECT_EQ(distances_of(request_of(64, 32)), std::vector<int64_t>{});
  EXPECT_EQ(distances_of(request_of(64, 33)), std::vector<int64_t>{16});
  EXPECT_EQ(distances_of(request_of(64, 2032)), (std::vector<int64_t>{16, 64, 256}));
  EXPECT_EQ(distances_of(request_of(64, 2033)), (std::vector<int64_t>{16, 64, 256, 1016}));
}

TEST(CopyTexts, ScoreAboutAsManyTokensAtEachDistance) {
  RandomTextRequest request = request_of(2048);
  for (const int64_t wanted : {4096, 10000}) {
    request.scored_tokens = wanted;
    for (const CopyTexts& texts : copy_texts(request)) {
      int64_t scored = 0;
      for (const ScoredTree& text : texts.trees) scored += scored_tokens(text.tree);
      EXPECT_LE(std::abs(scored - wanted), texts.distance / 2) << texts.distance;
    }
  }
  request.scored_tokens = 1;
  for (const CopyTexts& texts : copy_texts(request)) EXPECT_EQ(texts.trees.size(), 1u);
}

TEST(CopyTexts, DoWithoutBos) {
  RandomTextRequest request = request_of(2048);
  request.bos.reset();
  const ScoredTree text = copy_texts(request).front().trees.front();
  EXPECT_EQ(text.tree.tokens(), 32);
  EXPECT_EQ(scored_tokens(text.tree), 16);
  EXPECT_EQ(text.tree.ids[0], text.tree.ids[16]);
}

// random.seed(7), then random.randint(2000, 29999) for each, of Python 3.11.
TEST(CopyTexts, AreThoseOfTheirSeed) {
  RandomTextRequest request = request_of(32000);
  request.seed = 7;
  const Ids ids = copy_texts(request).front().trees.front().tree.ids;
  EXPECT_EQ(Ids(ids.begin(), ids.begin() + 7), (Ids{1, 12611, 6943, 14937, 23329, 3582, 4373}));
  request.seed = 8;
  EXPECT_NE(copy_texts(request).front().trees.front().tree.ids, ids);
}

TEST(Recall, AsksForOneOfThePairs) {
  std::set<int64_t> asked;
  const std::vector<ScoredTree> trees = recall_trees(request_of(64, 51));
  ASSERT_EQ(trees.size(), 64u);
  for (const ScoredTree& scored : trees) {
    ASSERT_EQ(scored.items.size(), 1u);
    const ScoredItem& item = scored.items.front();
    ASSERT_EQ(item.texts.size(), 24u);
    const Ids& ids = scored.tree.ids;
    ASSERT_EQ(ids.size(), 1u + 48 + 1 + 24);  // the context once, then the values
    ASSERT_EQ(std::set<int32_t>(ids.begin() + 1, ids.begin() + 49).size(), 48u);
    ASSERT_EQ(ids[49], ids[1 + 2 * item.gold]);
    for (int64_t pair = 0; pair < 24; ++pair) {
      ASSERT_EQ(ids[50 + pair], ids[2 + 2 * pair]);
      ASSERT_EQ(item.texts[pair].tokens, 51);
      ASSERT_EQ(item.texts[pair].first_scored, 50);
    }
    ASSERT_EQ(scored_tokens(scored.tree), 24);
    asked.insert(item.gold);
  }
  EXPECT_GT(asked.size(), 15u);
}

TEST(Recall, TakesALengthThatHoldsThePairs) {
  EXPECT_TRUE(recall_trees(request_of(64, 50)).empty());
}

TEST(RandomTexts, RefuseATinyVocabulary) {
  const auto refusal = [] { copy_texts(request_of(63)); };
  EXPECT_HOLDS("vocabulary of 64 or more; the model's has 63", message_of(refusal));
}

}  // namespace
}  // namespace kvcalib
