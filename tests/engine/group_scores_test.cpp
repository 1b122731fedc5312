// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/group_scores.h"

#include <gtest/gtest.h>

#include <utility>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

constexpr int64_t kLayers = 2, kHeads = 2, kStreams = 2;

TreeScores tree_scores(float surprise) {
  TokenScores exact{{0, surprise}, {}, {}, {}};
  TokenScores other{{0, surprise + 1}, {0, 0.5F}, {0, 0.25F}, {0, 1}};
  return {{std::move(exact), std::move(other)}};
}

// All errors of the first stream are 0; those of the other are 1000 times the tree and count up.
TreeErrors tree_errors(int64_t tree) {
  TreeErrors errors{tree, {}};
  const int64_t own = kLayers * TreeErrors::width(kHeads);
  for (int64_t i = 0; i < kStreams * own; ++i)
    errors.values.push_back(i < own ? 0 : static_cast<double>(1000 * tree + i - own));
  return errors;
}

// Of int8 in the second stream.
std::vector<StreamProfile> code_profiles(uint64_t values, int32_t lowest, int32_t highest) {
  LayerProfile layer;
  layer.key_codes = {{values, 1, lowest, highest}, {}};
  layer.value_codes = {{values, 0, lowest, 0}, {values, 2, 0, highest}};
  return {StreamProfile(kLayers), StreamProfile(kLayers, layer)};
}

GroupScores some_scores() {
  return {{tree_scores(2), tree_scores(3)}, {tree_errors(1)}, code_profiles(10, -5, 7)};
}

TEST(GroupScores, AreGivenBackByTheirBytes) {
  EXPECT_EQ(group_scores_of(to_bytes(some_scores()), "a file"), some_scores());
  EXPECT_EQ(group_scores_of(to_bytes({}), "a file"), GroupScores());
  EXPECT_EQ(to_bytes(some_scores()), to_bytes(some_scores()));
}

TEST(GroupScores, OfDamagedBytesAreRefused) {
  const std::string bytes = to_bytes(some_scores());
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_HOLDS("a file: is damaged", message_of([&] {
                   group_scores_of(std::string_view(bytes).substr(0, size), "a file");
                 }));
  EXPECT_HOLDS("a file: is damaged", message_of([&] { group_scores_of(bytes + "x", "a file"); }));
  std::string counted = bytes;
  counted[7] = '\x7f';  // trees
  EXPECT_HOLDS("a file: is damaged", message_of([&] { group_scores_of(counted, "a file"); }));
}

TEST(GroupScores, OfTheNextRankGoBehindAndTheirCodesAreAdded) {
  GroupScores scores = some_scores();
  append(scores, {{tree_scores(9)}, {tree_errors(2)}, code_profiles(100, -3, 90)});
  ASSERT_EQ(scores.trees.size(), 3U);
  EXPECT_EQ(scores.trees[1], tree_scores(3));
  EXPECT_EQ(scores.trees[2], tree_scores(9));
  EXPECT_EQ(scores.errors, (std::vector<TreeErrors>{tree_errors(1), tree_errors(2)}));
  ASSERT_EQ(scores.profiles.size(), 2U);
  EXPECT_TRUE(scores.profiles[0][0].key_codes.empty());
  for (const LayerProfile& layer : scores.profiles[1]) {
    EXPECT_EQ(layer.key_codes, (std::vector<CodeUse>{{110, 2, -5, 90}, {}}));
    EXPECT_EQ(layer.value_codes, (std::vector<CodeUse>{{110, 0, -5, 0}, {110, 4, 0, 90}}));
  }
}

TEST(GroupScores, ThatGoBehindNothingAreTheSame) {
  GroupScores scores;
  append(scores, some_scores());
  EXPECT_EQ(scores, some_scores());
  append(scores, {});
  EXPECT_EQ(scores, some_scores());
}

TEST(GroupScores, AreTheSameHoweverTheyWereDealt) {
  const auto part = [](int64_t tree) {
    return GroupScores{{tree_scores(static_cast<float>(tree))},
                       {tree_errors(tree)},
                       code_profiles(5, static_cast<int32_t>(-tree), 4)};
  };
  GroupScores left = part(1), right = part(2);
  append(left, part(2));
  append(left, part(3));
  append(right, part(3));
  GroupScores whole = part(1);
  append(whole, std::move(right));
  EXPECT_EQ(to_bytes(left), to_bytes(whole));
}

TEST(WholeProfiles, HoldCodesAndTheErrorsOfAllTreesByLayerAndHead) {
  GroupScores scores = some_scores();
  scores.errors = {tree_errors(1), tree_errors(4)};
  const std::vector<StreamProfile> profiles = whole_profiles(scores, kLayers, kHeads);
  ASSERT_EQ(profiles.size(), 2U);
  const LayerProfile& first = profiles[1][0];
  const LayerProfile& second = profiles[1][1];
  EXPECT_EQ(first.key_codes, some_scores().profiles[1][0].key_codes);
  EXPECT_EQ(first.value_codes, some_scores().profiles[1][0].value_codes);
  EXPECT_EQ(first.key_error, (std::vector<SquaredError>{{5000, 5006}, {5008, 5014}}));
  EXPECT_EQ(first.value_error, (std::vector<SquaredError>{{5002, 5006}, {5010, 5014}}));
  EXPECT_EQ(first.both_error, (std::vector<SquaredError>{{5004, 5006}, {5012, 5014}}));
  EXPECT_EQ(first.hidden_error, (SquaredError{5016, 5018}));
  EXPECT_EQ(second.key_error[0], (SquaredError{5020, 5026}));
  EXPECT_EQ(second.hidden_error, (SquaredError{5036, 5038}));
  EXPECT_EQ(profiles[0][1].both_error, std::vector<SquaredError>(2));
  EXPECT_EQ(profiles[0][1].hidden_error, SquaredError());
}

TEST(WholeProfiles, HaveAllLayersWhereNoTreeWasSampled) {
  GroupScores scores;
  scores.profiles.resize(2);
  const std::vector<StreamProfile> profiles = whole_profiles(scores, 3, 4);
  ASSERT_EQ(profiles.size(), 2U);
  EXPECT_EQ(profiles[1].size(), 3U);
}

}  // namespace
}  // namespace kvcalib
