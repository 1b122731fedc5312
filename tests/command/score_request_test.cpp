// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/score_request.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

using Kind = CacheFormat::Kind;

ScoreRequest some_request() {
  ScoreRequest request;
  request.streams = {{"fp16", {}, {}},
                     {"int8", {Kind::kInt8, {{0.5F, 2}, {-1, 0}}, {{1}, {3}}}, 1},
                     {"fp8", {Kind::kFloat8, {{0.25F}, {}}, {{4}, {}}}, {}},
                     {"control", {}, 0, 1}};
  request.length = 77;
  request.divergences = false;
  request.sample_from = 1;
  request.groups = {{0, 1}, {1, 2}};
  request.trees = {{{1, 2, 3}, {{-1, 0, 2}, {0, 2, 1}}, {0, 1, 1}}, {{9}, {{-1, 0, 1}}, {0}}};
  return request;
}

TEST(ScoreRequest, ReachesTheOtherRanksWhole) {
  const ScoreRequest found = score_request_of(to_bytes(some_request()));
  ASSERT_EQ(found.streams.size(), 4U);
  EXPECT_EQ(found.streams[1].name, "int8");
  EXPECT_EQ(found.streams[1].format.kind, Kind::kInt8);
  EXPECT_EQ(found.streams[1].format.keys.scale, (std::vector<float>{0.5F, 2}));
  EXPECT_EQ(found.streams[1].format.keys.zero, (std::vector<float>{-1, 0}));
  EXPECT_EQ(found.streams[1].format.values.scale, (std::vector<float>{1}));
  EXPECT_EQ(found.streams[1].format.values.zero, (std::vector<float>{3}));
  EXPECT_EQ(found.streams[1].first_tree, 1);
  EXPECT_EQ(found.streams[1].last_tree, std::numeric_limits<int64_t>::max());
  EXPECT_EQ(found.streams[2].format.kind, Kind::kFloat8);
  EXPECT_EQ(found.streams[3].last_tree, 1);
  EXPECT_EQ(found.length, 77);
  EXPECT_FALSE(found.divergences);
  EXPECT_EQ(found.sample_from, 1);
  ASSERT_EQ(found.groups.size(), 2U);
  EXPECT_EQ(found.groups[1].first, 1);
  EXPECT_EQ(found.groups[1].last, 2);
  ASSERT_EQ(found.trees.size(), 2U);
  EXPECT_EQ(found.trees[0].ids, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(found.trees[0].scored, (std::vector<uint8_t>{0, 1, 1}));
  ASSERT_EQ(found.trees[0].nodes.size(), 2U);
  EXPECT_EQ(found.trees[0].nodes[1].parent, 0);
  EXPECT_EQ(found.trees[0].nodes[1].first, 2);
  EXPECT_EQ(found.trees[0].nodes[1].count, 1);
  EXPECT_EQ(to_bytes(found), to_bytes(some_request()));
}

// What resuming relies on: the bytes tell requests apart.
TEST(ScoreRequest, HasOtherBytesForEveryDifference) {
  const std::vector<void (*)(ScoreRequest&)> changes = {
      [](ScoreRequest& request) { request.streams.pop_back(); },
      [](ScoreRequest& request) { request.streams[0].name = "bf16"; },
      [](ScoreRequest& request) { request.streams[1].format.kind = Kind::kInt8OfToken; },
      [](ScoreRequest& request) { request.streams[1].format.keys.scale[1] = 2.5F; },
      [](ScoreRequest& request) { request.streams[1].format.values.zero[0] = 0; },
      [](ScoreRequest& request) { request.streams[3].last_tree = 2; },
      [](ScoreRequest& request) { request.streams[1].first_tree = 0; },
      [](ScoreRequest& request) { request.length = 78; },
      [](ScoreRequest& request) { request.divergences = true; },
      [](ScoreRequest& request) { request.sample_from = 0; },
      [](ScoreRequest& request) { request.groups[0].last = 2; },
      [](ScoreRequest& request) { request.trees[0].ids[2] = 4; },
      [](ScoreRequest& request) { request.trees[0].nodes[1].parent = -1; },
      [](ScoreRequest& request) { request.trees[0].scored[1] = 0; },
      [](ScoreRequest& request) { request.trees.pop_back(); },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    ScoreRequest request = some_request();
    changes[i](request);
    EXPECT_NE(to_bytes(request), to_bytes(some_request())) << "change " << i;
  }
}

TEST(ScoreRequest, ThatIsCutIsRefused) {
  const std::string bytes = to_bytes(some_request());
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_HOLDS("the first rank's request: is damaged",
                 message_of([&] { score_request_of(std::string_view(bytes).substr(0, size)); }));
}

// Where groups of trees with so many tokens each end.
std::vector<int64_t> ends_of(const std::vector<size_t>& tokens, int64_t first,
                             int64_t most_tokens) {
  std::vector<TokenTree> trees;
  for (const size_t count : tokens) trees.emplace_back().ids.resize(count);
  std::vector<int64_t> ends;
  for (const TreeGroup& group : tree_groups(trees, first, most_tokens)) {
    EXPECT_EQ(group.first, ends.empty() ? first : ends.back());
    ends.push_back(group.last);
  }
  return ends;
}

TEST(TreeGroups, HoldNoMoreThanTheyMayButForATreeOnItsOwn) {
  using Ends = std::vector<int64_t>;
  const std::vector<size_t> tokens = {3, 4, 5, 20, 1, 1, 8};
  EXPECT_EQ(ends_of(tokens, 0, 1), (Ends{1, 2, 3, 4, 5, 6, 7}));
  EXPECT_EQ(ends_of(tokens, 0, 7), (Ends{2, 3, 4, 6, 7}));
  EXPECT_EQ(ends_of(tokens, 0, 12), (Ends{3, 4, 7}));
  EXPECT_EQ(ends_of(tokens, 0, 41), (Ends{6, 7}));
  EXPECT_EQ(ends_of(tokens, 0, 42), (Ends{7}));
  EXPECT_EQ(ends_of(tokens, 2, 12), (Ends{3, 4, 7}));
  EXPECT_EQ(ends_of(tokens, 7, 12), Ends());
}

}  // namespace
}  // namespace kvcalib
