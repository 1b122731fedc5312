// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/item_tree.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

namespace kvcalib {
namespace {

using Ids = std::vector<int32_t>;

TokenItem item_of(const std::vector<Ids>& texts, int64_t first_scored = 1,
                  const std::string& cluster = "") {
  TokenItem item{"id", cluster, 0, false, {}};
  for (const Ids& ids : texts) item.texts.push_back({ids, first_scored});
  return item;
}

ScoredTree tree_of_texts(const std::vector<Ids>& texts, bool share = true) {
  const TokenItem item = item_of(texts);
  return tree_of({&item, 1}, share);
}

Ids ids_on_path(const TokenTree& tree, const TextInTree& text) {
  Ids ids;
  for (const int64_t index : text.nodes) {
    const TokenTree::Node& node = tree.nodes.at(index);
    ids.insert(ids.end(), tree.ids.begin() + node.first,
               tree.ids.begin() + node.first + node.count);
  }
  return ids;
}

// That nodes and tokens are as token_tree.h says, and no node could be one with its parent.
void expect_well_formed(const ScoredTree& scored, bool share) {
  const TokenTree& tree = scored.tree;
  std::set<int64_t> ends;
  for (const ScoredItem& item : scored.items) {
    for (const TextInTree& text : item.texts) ends.insert(text.nodes.back());
  }
  std::map<int64_t, std::set<int32_t>> beginnings;  // of the children, by parent
  std::map<int64_t, int64_t> children;
  int64_t next = 0;
  for (size_t i = 0; i < tree.nodes.size(); ++i) {
    const TokenTree::Node& node = tree.nodes[i];
    ASSERT_EQ(node.first, next);
    ASSERT_GE(node.count, 1);
    ASSERT_LT(node.parent, static_cast<int64_t>(i));
    ++children[node.parent];
    const bool is_new = beginnings[node.parent].insert(tree.ids.at(node.first)).second;
    ASSERT_TRUE(is_new || !share) << "two children begin alike";
    ASSERT_TRUE(node.parent >= 0 || tree.scored.at(node.first) == 0);
    next += node.count;
  }
  ASSERT_EQ(next, tree.tokens());
  ASSERT_EQ(tree.scored.size(), tree.ids.size());
  for (size_t i = 0; i < tree.nodes.size(); ++i) {
    const auto node = static_cast<int64_t>(i);
    ASSERT_TRUE(ends.contains(node) || children[node] >= 2) << "a node for nothing";
  }
}

// That the nodes behind a node, up to one that is no descendant, are all its descendants.
void expect_depth_first(const TokenTree& tree) {
  std::vector<int64_t> open;
  for (size_t i = 0; i < tree.nodes.size(); ++i) {
    while (!open.empty() && open.back() != tree.nodes[i].parent) open.pop_back();
    ASSERT_EQ(open.empty() ? -1 : open.back(), tree.nodes[i].parent) << "node " << i;
    open.push_back(static_cast<int64_t>(i));
  }
}

void expect_places(const std::vector<TokenItem>& items, const ScoredTree& scored) {
  ASSERT_EQ(scored.items.size(), items.size());
  std::set<int64_t> wanted;
  for (size_t i = 0; i < items.size(); ++i) {
    ASSERT_EQ(scored.items[i].texts.size(), items[i].texts.size());
    for (size_t j = 0; j < items[i].texts.size(); ++j) {
      const TextTokens& text = items[i].texts[j];
      const TextInTree& placed = scored.items[i].texts[j];
      ASSERT_EQ(ids_on_path(scored.tree, placed), text.ids);
      ASSERT_EQ(placed.tokens, static_cast<int64_t>(text.ids.size()));
      ASSERT_EQ(placed.first_scored, text.first_scored);
      int64_t parent = -1, position = 0;
      for (const int64_t index : placed.nodes) {
        const TokenTree::Node& node = scored.tree.nodes[index];
        ASSERT_EQ(node.parent, parent);
        parent = index;
        for (int64_t token = 0; token < node.count; ++token, ++position) {
          if (position >= text.first_scored) wanted.insert(node.first + token);
        }
      }
    }
  }
  for (int64_t token = 0; token < scored.tree.tokens(); ++token)
    ASSERT_EQ(scored.tree.scored[token] != 0, wanted.contains(token)) << "token " << token;
}

// Different beginnings of the texts: what a tree to the token has as its tokens.
int64_t different_beginnings(const std::vector<TokenItem>& items) {
  std::set<Ids> beginnings;
  for (const TokenItem& item : items) {
    for (const TextTokens& text : item.texts) {
      for (size_t count = 1; count <= text.ids.size(); ++count)
        beginnings.insert(Ids(text.ids.begin(), text.ids.begin() + static_cast<int64_t>(count)));
    }
  }
  return static_cast<int64_t>(beginnings.size());
}

// A surprise that depends on a token and all before it, as a model's does.
std::vector<float> surprises_of(const TokenTree& tree) {
  std::vector<float> surprises(tree.ids.size());
  std::vector<uint64_t> state(tree.ids.size());
  for (const TokenTree::Node& node : tree.nodes) {
    uint64_t before = 1;
    if (node.parent >= 0) {
      const TokenTree::Node& parent = tree.nodes[node.parent];
      before = state[parent.first + parent.count - 1];
    }
    for (int64_t token = node.first; token < node.first + node.count; ++token) {
      before = (before + static_cast<uint64_t>(tree.ids[token]) + 1) * 6364136223846793005ULL;
      state[token] = before;
      surprises[token] = static_cast<float>(before >> 40) / 1e6F;
    }
  }
  return surprises;
}

std::vector<TokenItem> random_items(uint32_t seed) {
  std::mt19937 random(seed);
  const auto below = [&](uint32_t count) { return static_cast<int64_t>(random() % count); };
  std::vector<TokenItem> items(1 + below(4));
  for (TokenItem& item : items) {
    item.cluster = below(3) == 0 ? "" : std::string(1, static_cast<char>('a' + below(2)));
    const int64_t choices = 2 + below(4);
    for (int64_t choice = 0; choice < choices; ++choice) {
      Ids ids(2 + below(7));
      for (int32_t& id : ids) id = static_cast<int32_t>(below(2));
      item.texts.push_back({ids, 1 + below(static_cast<uint32_t>(ids.size() - 1))});
    }
  }
  return items;
}

void expect_same_sums(const ScoredTree& shared, const ScoredTree& alone) {
  const std::vector<float> of_shared = surprises_of(shared.tree);
  const std::vector<float> of_alone = surprises_of(alone.tree);
  for (size_t i = 0; i < shared.items.size(); ++i) {
    for (size_t j = 0; j < shared.items[i].texts.size(); ++j) {
      ASSERT_EQ(text_sum(shared.tree, shared.items[i].texts[j], of_shared),
                text_sum(alone.tree, alone.items[i].texts[j], of_alone));
    }
  }
}

TEST(ItemTree, HoldsWhatTextsHaveInCommonOnce) {
  const ScoredTree scored = tree_of_texts({{1, 5, 6, 7}, {1, 5, 8}, {1, 5, 6, 9, 9}});
  EXPECT_EQ(scored.tree.ids, (Ids{1, 5, 6, 7, 9, 9, 8}));
  EXPECT_EQ(scored.tree.scored, (std::vector<uint8_t>{0, 1, 1, 1, 1, 1, 1}));
  const std::vector<TextInTree>& texts = scored.items.front().texts;
  EXPECT_EQ(texts[0].nodes, (std::vector<int64_t>{0, 1, 2}));
  EXPECT_EQ(texts[1].nodes, (std::vector<int64_t>{0, 4}));
  EXPECT_EQ(texts[2].nodes, (std::vector<int64_t>{0, 1, 3}));
  expect_well_formed(scored, true);
}

TEST(ItemTree, EndsANodeWhereATextEnds) {
  const ScoredTree scored = tree_of_texts({{1, 5, 6, 7}, {1, 5}, {1, 5}, {1, 5, 6, 7}});
  EXPECT_EQ(scored.tree.ids, (Ids{1, 5, 6, 7}));
  const std::vector<TextInTree>& texts = scored.items.front().texts;
  EXPECT_EQ(texts[0].nodes, (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(texts[1].nodes, (std::vector<int64_t>{0}));
  EXPECT_EQ(texts[2].nodes, texts[1].nodes);
  EXPECT_EQ(texts[3].nodes, texts[0].nodes);
}

TEST(ItemTree, HasARootForEachFirstToken) {
  const ScoredTree scored = tree_of_texts({{3, 4}, {5, 4}, {3, 6}});
  EXPECT_EQ(scored.tree.ids, (Ids{3, 4, 6, 5, 4}));
  EXPECT_EQ(scored.tree.nodes.back().parent, -1);
  expect_well_formed(scored, true);
}

TEST(ItemTree, LaysEveryTextOnItsOwnWithoutSharing) {
  const std::vector<Ids> texts{{1, 2, 3}, {1, 2, 3}, {1, 2}, {1, 4}};
  const ScoredTree scored = tree_of_texts(texts, false);
  EXPECT_EQ(scored.tree.ids, (Ids{1, 2, 3, 1, 2, 3, 1, 2, 1, 4}));
  for (size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(scored.tree.nodes[i].parent, -1);
    EXPECT_EQ(scored.items.front().texts[i].nodes, std::vector<int64_t>{static_cast<int64_t>(i)});
  }
  expect_well_formed(scored, false);
}

TEST(ItemTree, ScoresATokenThatAnyTextScores) {
  TokenItem item = item_of({{1, 2, 3, 4}, {1, 2, 3, 5}});
  item.texts[0].first_scored = 3;
  item.texts[1].first_scored = 2;
  const ScoredTree scored = tree_of({&item, 1});
  EXPECT_EQ(scored.tree.scored, (std::vector<uint8_t>{0, 0, 1, 1, 1}));
  const std::vector<float> surprises{0, 0, 10, 1, 2};
  EXPECT_EQ(text_sum(scored.tree, scored.items[0].texts[0], surprises), 1);
  EXPECT_EQ(text_sum(scored.tree, scored.items[0].texts[1], surprises), 12);
}

TEST(ItemTree, SumsInDoublePrecision) {
  const ScoredTree scored = tree_of_texts({{1, 2, 3, 4}, {1, 9}});
  const std::vector<float> surprises{0, 16777216, 1, 1, 0};
  EXPECT_EQ(text_sum(scored.tree, scored.items[0].texts[0], surprises), 16777218);
}

TEST(ItemTree, IsThatOfAllBeginningsOfRandomTexts) {
  for (uint32_t seed = 0; seed < 2000; ++seed) {
    SCOPED_TRACE(seed);
    const std::vector<TokenItem> items = random_items(seed);
    const ScoredTree shared = tree_of(items);
    const ScoredTree alone = tree_of(items, false);
    ASSERT_EQ(shared.tree.tokens(), different_beginnings(items));
    for (const bool share : {true, false}) {
      const ScoredTree& scored = share ? shared : alone;
      expect_well_formed(scored, share);
      expect_depth_first(scored.tree);
      expect_places(items, scored);
    }
    expect_same_sums(shared, alone);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(ItemTrees, KeepTheItemsOfAClusterTogether) {
  const std::vector<TokenItem> items{
      item_of({{1, 2}, {1, 3}}, 1, "a"), item_of({{1, 2}, {1, 4}}, 1, "a"),
      item_of({{1, 2}, {1, 3}}, 1, "b"), item_of({{1, 2}, {1, 3}}, 1, "a"),
      item_of({{1, 2}, {1, 3}}),         item_of({{1, 2}, {1, 3}})};
  const std::vector<ScoredTree> trees = trees_of(items, {});
  ASSERT_EQ(trees.size(), 5u);
  EXPECT_EQ(trees[0].items.size(), 2u);
  EXPECT_EQ(trees[0].tree.ids, (Ids{1, 2, 3, 4}));
}

// Of random items the trees hold no more than allowed, and could not hold the next item as well.
TEST(ItemTrees, AreAsLargeAsAllowed) {
  for (uint32_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    std::vector<TokenItem> items;
    for (uint32_t part = 0; part < 4; ++part) {
      for (TokenItem& item : random_items(seed * 4 + part)) items.push_back(std::move(item));
    }
    const bool share = seed % 3 != 0;
    const TreeLayout layout{share, 20};
    const std::vector<ScoredTree> trees = trees_of(items, layout);
    size_t first = 0;
    for (const ScoredTree& scored : trees) {
      const size_t end = first + scored.items.size();
      const std::vector<TokenItem> held(items.begin() + static_cast<int64_t>(first),
                                        items.begin() + static_cast<int64_t>(end));
      ASSERT_NO_FATAL_FAILURE(expect_places(held, scored));
      ASSERT_TRUE(held.size() == 1 || scored.tree.tokens() <= layout.most_tokens);
      for (const TokenItem& item : held) ASSERT_EQ(item.cluster, held.front().cluster);
      const bool goes_on = end < items.size() && !held.front().cluster.empty() &&
                           items[end].cluster == held.front().cluster;
      if (goes_on) {
        std::vector<TokenItem> more = held;
        more.push_back(items[end]);
        ASSERT_GT(tree_of(more, share).tree.tokens(), layout.most_tokens);
      }
      first = end;
    }
    ASSERT_EQ(first, items.size());
  }
}

}  // namespace
}  // namespace kvcalib
