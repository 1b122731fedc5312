// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/segment_attention.h"

#include <gtest/gtest.h>

#include "tests/engine/one_layer.h"
#include "tests/engine/segment_case.h"

namespace kvcalib {
namespace {

constexpr SegmentHeads kHeads{4, 2, 24};

TEST(SegmentAttention, AgreesWithASoftmaxInDoubleAlongEveryPath) {
  at::manual_seed(1);
  const Segments segments = segments_of(some_trees());
  for (const SegmentHeads& heads : {kHeads, SegmentHeads{2, 2, 16}}) {
    const at::Tensor qkv = heads.random(segments.rows(), at::kFloat);
    for (const int64_t sliding_window : {0, 1, 30, 600}) {
      const at::Tensor found = heads.attend(qkv, segments, sliding_window);
      const at::Tensor expected = heads.attend_in_double(qkv, segments, sliding_window);
      EXPECT_LT((found - expected).abs().max().item<double>(), 1e-5) << sliding_window;
    }
  }
}

// Every path as a text of its own, alone.
TEST(SegmentAttention, GivesARowTheBitsThatItHasWithoutSharing) {
  at::manual_seed(2);
  const Segments segments = segments_of(some_trees());
  const at::Tensor qkv = kHeads.random(segments.rows(), at::kFloat);
  for (const int64_t sliding_window : {0, 30}) {
    const at::Tensor shared = kHeads.attend(qkv, segments, sliding_window);
    for (int64_t i = 0; i < std::ssize(segments.all); ++i) {
      const at::Tensor path = path_rows(segments, i);
      const Segments alone = segments_of({tree_of({{-1, path.size(0)}})});
      const at::Tensor unshared = kHeads.attend(qkv.index_select(0, path), alone, sliding_window);
      EXPECT_TRUE(at::equal(unshared, shared.index_select(0, path))) << "segment " << i;
    }
  }
}

TEST(SegmentAttention, CountsPositionsAlongEveryPath) {
  const Segments segments = segments_of(some_trees());
  for (int64_t i = 0; i < std::ssize(segments.all); ++i) {
    const at::Tensor path = path_rows(segments, i);
    EXPECT_EQ(segments.all[static_cast<size_t>(i)].keys, path.size(0));
    EXPECT_TRUE(
        at::equal(segments.positions.index_select(0, path), at::arange(path.size(0), at::kInt)));
  }
  EXPECT_EQ(segments.most_rows, 600);
  EXPECT_EQ(segments.most_keys, 670);
}

// The first tokens of every text apart, as what is earlier.
TEST(SegmentAttention, GivesRowsBehindEarlierKeysTheBitsOfWholeTexts) {
  at::manual_seed(3);
  constexpr int64_t kEarlier = 70;
  const std::vector<TokenTree> rests = {tree_of({{-1, 9}}), tree_of({{-1, 40}, {0, 3}, {0, 600}})};
  const Segments segments = make_segments(pointers(rests), at::kCPU, kEarlier);
  const at::Tensor qkv = kHeads.random(kEarlier + segments.rows(), at::kFloat);
  const auto own = [&](const at::Tensor& heads) { return heads.slice(0, kEarlier); };
  const at::Tensor keys = kHeads.part(qkv, kHeads.heads, kHeads.kv_heads);
  const at::Tensor values = kHeads.part(qkv, kHeads.heads + kHeads.kv_heads, kHeads.kv_heads);
  for (const int64_t sliding_window : {0, 30}) {
    const at::Tensor found = segment_attention(own(kHeads.part(qkv, 0, kHeads.heads)), keys, values,
                                               segments, sliding_window);
    for (int64_t i = 0; i < std::ssize(segments.all); ++i) {
      const at::Tensor path = path_rows(segments, i);
      const at::Tensor text = at::cat({at::arange(kEarlier), path + kEarlier});
      const Segments whole = segments_of({tree_of({{-1, text.size(0)}})});
      const at::Tensor expected =
          kHeads.attend(qkv.index_select(0, text), whole, sliding_window).slice(0, kEarlier);
      EXPECT_TRUE(at::equal(found.index_select(0, path), expected)) << i;
      EXPECT_TRUE(at::equal(segments.positions.index_select(0, path),
                            at::arange(kEarlier, text.size(0), at::kInt)));
    }
  }
  EXPECT_EQ(segments.window, 0);
}

TEST(SegmentAttention, KnowsWindows) {
  EXPECT_EQ(segments_of({tree_of({{-1, 256}}), tree_of({{-1, 256}})}).window, 256);
  EXPECT_EQ(segments_of({tree_of({{-1, 256}}), tree_of({{-1, 257}})}).window, 0);
  EXPECT_EQ(segments_of({tree_of({{-1, 255}}), tree_of({{-1, 255}})}).window, 0);
  EXPECT_EQ(segments_of({tree_of({{-1, 256}, {0, 256}})}).window, 0);
}

TEST(SegmentAttention, RefusesTreesThatAreNone) {
  TokenTree with_gap = tree_of({{-1, 3}, {0, 2}});
  with_gap.nodes[1].first = 4;
  TokenTree with_more_tokens = tree_of({{-1, 3}});
  with_more_tokens.ids.push_back(0);
  for (const TokenTree& tree : {with_gap, with_more_tokens, tree_of({{0, 3}}), tree_of({{-1, 0}}),
                                tree_of({{-1, 3}, {2, 1}, {0, 1}})})
    EXPECT_THROW(segments_of({tree}), c10::Error);
  const Segments segments = segments_of(some_trees());
  EXPECT_THROW(kHeads.attend(kHeads.random(segments.rows() - 1, at::kFloat), segments, 0),
               c10::Error);
}

// Windows of which the second half hangs on the first one.
TEST(DecoderLayer, GivesSegmentsTheBitsOfWholeWindows) {
  at::manual_seed(3);
  ModelConfig sliding = fixture::small_model();
  sliding.sliding_window = 9;
  for (const ModelConfig& model : {fixture::small_model(), sliding}) {
    OneLayer layer(model);
    const at::Tensor hidden = layer.random_input();
    const LayerResult whole = layer.run(hidden, 0, kLength);
    const int64_t half = kLength / 2;
    const std::vector<TokenTree> trees(kWindows, tree_of({{-1, half}, {0, half}, {0, half}}));
    // The second halves, and in between one that is another window's.
    const at::Tensor rows =
        at::cat({hidden.narrow(1, 0, half), hidden.flip(0).narrow(1, half, half),
                 hidden.narrow(1, half, half)},
                1);
    const LayerResult found = layer.run_segments(rows.flatten(0, 1), segments_of(trees));
    const at::Tensor output = found.hidden.view(rows.sizes());
    EXPECT_TRUE(at::equal(output.narrow(1, 0, half), whole.hidden.narrow(1, 0, half)));
    EXPECT_TRUE(at::equal(output.narrow(1, 2 * half, half), whole.hidden.narrow(1, half, half)));
    EXPECT_FALSE(
        at::equal(output.narrow(1, half, half), whole.hidden.flip(0).narrow(1, half, half)));
  }
}

}  // namespace
}  // namespace kvcalib
