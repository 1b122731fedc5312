// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/score_pass.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "calibrate/engine/embedding.h"
#include "tests/engine/quantizer_fixture.h"
#include "tests/engine/score_run.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

using Kind = CacheFormat::Kind;

// Windows of two lengths, and trees of two roots and of depth 3 with a node of many children.
std::vector<TokenTree> mixed_trees() {
  std::vector<TokenTree> trees = scored_windows(3, 24);
  trees.push_back(scored_tree({{-1, 30}, {0, 5}, {1, 9}, {1, 2}, {1, 1}, {0, 1}, {5, 12}}, 1));
  trees.push_back(scored_tree({{-1, 2}, {0, 3}, {0, 3}, {0, 4}, {-1, 7}, {4, 1}}, 2));
  trees.push_back(scored_tree({{-1, 33}}, 3));
  trees.push_back(scored_tree({{-1, 1}, {0, 20}, {0, 21}}, 4));
  return trees;
}

std::vector<CacheStream> all_streams(const ModelConfig& model) {
  return {{"fp16", {}, {}},
          {"int8", random_format(Kind::kInt8, model), {}},
          {"per-token", random_format(Kind::kInt8OfToken, model), {}},
          {"fp8", random_format(Kind::kFloat8, model), {}}};
}

// Every path from a root to a node, as a text of its own.
std::vector<TokenTree> paths_of(const std::vector<TokenTree>& trees) {
  std::vector<TokenTree> paths;
  for (const TokenTree& tree : trees) {
    const Segments segments = segments_of({tree});
    for (int64_t i = 0; i < std::ssize(segments.all); ++i) {
      const at::Tensor rows = path_rows(segments, i);
      TokenTree& path = paths.emplace_back(scored_tree({{-1, rows.size(0)}}, 0));
      for (int64_t token = 0; token < rows.size(0); ++token)
        path.ids[static_cast<size_t>(token)] =
            tree.ids[static_cast<size_t>(rows[token].item<int64_t>())];
    }
  }
  return paths;
}

// Calls with a path's scores and its tree's, and for every token but the first its place in either.
template <typename See>
void each_path_token(const std::vector<TokenTree>& trees, const std::vector<TreeScores>& paths,
                     const std::vector<TreeScores>& shared, const See& see) {
  size_t path = 0;
  for (size_t tree = 0; tree < trees.size(); ++tree) {
    const Segments segments = segments_of({trees[tree]});
    for (int64_t i = 0; i < std::ssize(segments.all); ++i, ++path) {
      const at::Tensor rows = path_rows(segments, i);
      for (int64_t token = 1; token < rows.size(0); ++token)
        see(paths[path], static_cast<size_t>(token), shared[tree],
            static_cast<size_t>(rows[token].item<int64_t>()));
    }
  }
}

// -ln of the probability of every token but the first, by a plain forward pass in double whose
// cache has 16 bits.
std::vector<double> plain_surprises(const WeightDirectory& directory,
                                    const std::vector<int32_t>& ids) {
  const ModelConfig& model = directory.config();
  const at::Tensor hidden =
      at::empty({static_cast<int64_t>(ids.size()), model.hidden}, at::kDouble);
  const at::Tensor head = at::empty({model.vocab, model.hidden}, at::kDouble);
  std::vector<int32_t> all;
  for (int64_t id = 0; id < model.vocab; ++id) all.push_back(static_cast<int32_t>(id));
  embed_tokens(directory, ids, hidden);
  embed_tokens(directory, all, head);
  const auto cached = [](const at::Tensor& exact) { return exact.to(at::kHalf).to(at::kDouble); };
  const at::Tensor norm = whole_tensor(model, 0, LayerTensor::kAttentionNorm);
  const at::Tensor logits =
      at::mm(normed(plain_forward(model, hidden, cached).output, norm), head.t()).log_softmax(-1);
  std::vector<double> surprises;
  for (size_t token = 1; token < ids.size(); ++token)
    surprises.push_back(-logits[static_cast<int64_t>(token - 1)][ids[token]].item<double>());
  return surprises;
}

TEST(ScorePass, FindsTheSurprisesThatAPlainForwardPassInDoubleHas) {
  for (const int64_t sliding_window : {0, 9}) {
    ModelConfig model = fixture::small_model();
    model.kv_heads = 2;
    model.sliding_window = sliding_window;
    const ScoreRun run(model);
    const std::vector<TokenTree> trees = mixed_trees(), paths = paths_of(trees);
    const GroupScores found = run.run(paths, {{"fp16", {}, {}}});
    ASSERT_EQ(found.trees.size(), paths.size());
    for (size_t path = 0; path < paths.size(); ++path) {
      const std::vector<float>& surprise = found.trees[path].streams.at(0).surprise;
      const std::vector<double> expected = plain_surprises(run.directory(), paths[path].ids);
      EXPECT_EQ(surprise.at(0), 0);
      for (size_t token = 0; token < expected.size();
           ++token)  // a bit of the cache may fall to the other side
        EXPECT_NEAR(surprise.at(token + 1), expected[token], 2e-3) << path << ", " << token;
    }
  }
}

TEST(ScorePass, FindsNoDifferenceInAStreamThatChangesNothing) {
  const ScoreRun run;
  const std::vector<TokenTree> trees = mixed_trees();
  std::vector<CacheStream> streams = all_streams(run.model());
  streams.push_back({"control", {}, {}});
  for (const TreeScores& tree : run.run(trees, streams).trees) {
    const TokenScores &exact = tree.streams.at(0), &control = tree.streams.at(4);
    EXPECT_EQ(control.surprise, exact.surprise);
    EXPECT_TRUE(exact.divergence.empty());
    EXPECT_EQ(control.divergence, std::vector<float>(exact.surprise.size()));
    EXPECT_EQ(control.reverse_divergence, std::vector<float>(exact.surprise.size()));
    for (size_t token = 0; token < exact.surprise.size(); ++token)
      EXPECT_EQ(control.same_top.at(token), exact.surprise[token] != 0 ? 1 : 0);
    for (size_t stream = 1; stream < 4; ++stream)
      EXPECT_NE(tree.streams[stream].surprise, exact.surprise);
  }
}

TEST(ScorePass, GivesTheSameBitsWhetherTextsShareTheirBeginningsOrNot) {
  const ScoreRun run;
  const std::vector<TokenTree> trees = mixed_trees();
  const std::vector<CacheStream> streams = all_streams(run.model());
  const GroupScores shared = run.run(trees, streams), alone = run.run(paths_of(trees), streams);
  int64_t seen = 0;
  each_path_token(
      trees, alone.trees, shared.trees,
      [&](const TreeScores& path, size_t in_path, const TreeScores& tree, size_t in_tree) {
        ++seen;
        for (size_t stream = 0; stream < streams.size(); ++stream) {
          const TokenScores &one = path.streams[stream], &other = tree.streams[stream];
          EXPECT_GT(one.surprise.at(in_path), 0);
          EXPECT_EQ(one.surprise.at(in_path), other.surprise.at(in_tree));
          if (stream == 0) continue;
          EXPECT_EQ(one.divergence.at(in_path), other.divergence.at(in_tree));
          EXPECT_EQ(one.reverse_divergence.at(in_path), other.reverse_divergence.at(in_tree));
          EXPECT_EQ(one.same_top.at(in_path), other.same_top.at(in_tree));
        }
      });
  EXPECT_GT(seen, 300);
}

TEST(ScorePass, GivesTheSameBytesForEveryMicroBatchAndNumberOfRanks) {
  const ScoreRun run;
  const std::vector<TokenTree> trees = mixed_trees();
  const std::vector<CacheStream> streams = all_streams(run.model());
  const GroupScores first = run.run(trees, streams, {.micro_batch = 50});
  EXPECT_EQ(first.trees.size(), trees.size());
  EXPECT_EQ(first.errors.size(), trees.size());
  EXPECT_EQ(first.profiles.at(1).at(0).key_codes.at(0).values, 227U * 16);
  for (const int64_t micro_batch : {8, 50, 4096})
    for (const int64_t ranks : {1, 2, 3, 9})
      EXPECT_TRUE(to_bytes(run.run(trees, streams, {micro_batch, ranks})) == to_bytes(first))
          << "micro-batch " << micro_batch << ", " << ranks << " ranks";
}

TEST(ScorePass, GivesTheSameBytesInSeveralReadings) {
  const ScoreRun run;
  const std::vector<TokenTree> trees = mixed_trees();
  std::vector<CacheStream> streams = all_streams(run.model());
  streams.push_back({"control", {}, 0, 4});
  streams.push_back({"late", {}, 1, 5});
  const ScoreCase given{.sample_from = 1, .sample_every = 2};
  const GroupScores whole = run.run(trees, streams, given);
  Rendezvous rendezvous(Rank{});
  const auto communicator = make_communicator({}, at::kCPU, rendezvous);
  const auto pass = run.pass(streams, given, *communicator);
  GroupScores parts;
  for (const auto& [first, last] : {std::pair{0, 2}, {2, 3}, {3, 7}})
    append(parts, pass->run(std::span(trees).subspan(first, last - first), first, {}));
  EXPECT_TRUE(to_bytes(parts) == to_bytes(whole));
}

TEST(ScorePass, TakesAStreamThroughItsTreesAlone) {
  const ScoreRun run;
  const std::vector<TokenTree> trees = mixed_trees();
  const std::vector<CacheStream> streams = {
      {"fp16", {}, {}}, {"few", {}, 2, 4}, {"int8", random_format(Kind::kInt8, run.model()), {}}};
  const GroupScores all = run.run(trees, {streams[0], streams[2]});
  for (const int64_t ranks : {1, 3}) {
    for (const int64_t first_tree : {0, 1, 5}) {
      const GroupScores found = run.run(trees, streams, {.ranks = ranks, .first_tree = first_tree});
      for (size_t tree = 0; tree < trees.size(); ++tree) {
        const std::vector<TokenScores>& own = found.trees[tree].streams;
        const int64_t number = static_cast<int64_t>(tree) + first_tree;
        const bool takes = 2 <= number && number < 4;
        ASSERT_EQ(own.size(), takes ? 3U : 2U) << tree << " from " << first_tree;
        EXPECT_EQ(own.front(), all.trees[tree].streams.at(0));
        EXPECT_EQ(own.back(), all.trees[tree].streams.at(1));
        if (takes) {
          EXPECT_EQ(own[1].surprise, own[0].surprise);
        }
      }
    }
  }
}

TEST(ScorePass, SaysNothingOfTokensThatAreNotScored) {
  const ScoreRun run;
  std::vector<TokenTree> trees = mixed_trees();
  const std::vector<CacheStream> streams = all_streams(run.model());
  const GroupScores all = run.run(trees, streams);
  trees[0].scored.assign(trees[0].ids.size(), 0);
  for (size_t token = 0; token < trees[3].ids.size(); token += 3) trees[3].scored[token] = 0;
  const GroupScores found = run.run(trees, streams);
  for (const size_t tree : {0, 3}) {
    for (size_t stream = 0; stream < streams.size(); ++stream) {
      const TokenScores& own = found.trees[tree].streams[stream];
      for (size_t token = 0; token < own.surprise.size(); ++token) {
        const bool is_scored = trees[tree].scored[token] != 0;
        const TokenScores& expected = all.trees[tree].streams[stream];
        EXPECT_EQ(own.surprise[token], is_scored ? expected.surprise[token] : 0);
        if (stream == 0) continue;
        EXPECT_EQ(own.divergence.at(token), is_scored ? expected.divergence[token] : 0);
      }
    }
  }
  EXPECT_EQ(found.trees[1], all.trees[1]);
}

TEST(ScorePass, OfSurprisesAloneGivesTheSame) {
  const ScoreRun run;
  const std::vector<TokenTree> trees = mixed_trees();
  const std::vector<CacheStream> streams = all_streams(run.model());
  const GroupScores with = run.run(trees, streams);
  const GroupScores without = run.run(trees, streams, {.divergences = false});
  for (size_t tree = 0; tree < trees.size(); ++tree) {
    for (size_t stream = 0; stream < streams.size(); ++stream) {
      const TokenScores& own = without.trees[tree].streams.at(stream);
      EXPECT_EQ(own.surprise, with.trees[tree].streams[stream].surprise);
      EXPECT_TRUE(own.divergence.empty() && own.same_top.empty());
    }
  }
}

TEST(ScorePass, TellsOfEveryLayer) {
  const ScoreRun run;
  Rendezvous rendezvous(Rank{});
  const auto communicator = make_communicator({}, at::kCPU, rendezvous);
  std::vector<int64_t> told;
  run.pass({{"fp16", {}, {}}}, {}, *communicator)
      ->run(scored_windows(2, 24), 0, [&](const PassProgress& progress) {
        told.push_back(progress.layers_done);
        EXPECT_EQ(progress.tokens, 2 * 24);
      });
  EXPECT_EQ(told, (std::vector<int64_t>{1, 2, 3}));
}

}  // namespace
}  // namespace kvcalib
