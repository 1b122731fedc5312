// SPDX-License-Identifier: Apache-2.0
#include "calibrate/generation/generator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <numeric>
#include <random>

#include "calibrate/engine/embedding.h"
#include "calibrate/generation/stream_cache.h"
#include "sharding/ranks/make_communicator.h"
#include "tests/engine/plain_forward.h"
#include "tests/generation/even_int8.h"
#include "tests/message_of.h"
#include "tests/ranks/rank_threads.h"
#include "tests/streaming/plain_directory.h"

namespace kvcalib {
namespace {

using Continuations = std::vector<std::vector<Continuation>>;

constexpr int64_t kNew = 6;

// How prompts are continued.
struct Way {
  int64_t rows = 0;  // 0: as planned
  bool shares_prefix = true;
  WeightPlace place = WeightPlace::kEveryDevice;
  DecodingRule rule = {};
  IsSettled is_settled = {};
  std::optional<int32_t> end = {};
};

class GeneratorTest : public testing::Test {
 protected:
  GeneratorTest() {
    std::mt19937 random(5);
    const auto more = [&](std::vector<int32_t> ids, int64_t count) {
      for (int64_t i = 0; i < count; ++i)
        ids.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(model().vocab)));
      return ids;
    };
    const std::vector<int32_t> common = more({}, 130);
    for (const int64_t own : {1, 60, 3, 62, 63, 9}) prompts_.push_back({more(common, own), kNew});
    prompts_[2].most_new = 1;
  }

  const ModelConfig& model() const { return directory_.config(); }

  // All channels alike, which clip some values.
  CacheFormat int8() const { return even_int8(model(), kScale, kZero); }

  GenerationRoom room(uint64_t free_bytes) const {
    return {{.int8 = 1, .sixteen_bits = 1}, at::kCPU, stored_layer_bytes(directory_), free_bytes};
  }

  GenerationPlan plan(std::span<const GenerationPrompt> prompts, const Way& way) const {
    GenerationPlan plan = plan_generation(model(), prompts, room(uint64_t{1} << 33), way.place);
    if (way.rows > 0) plan.rows = way.rows;
    if (!way.shares_prefix) {
      plan.prefix_tokens = 0;
      plan.blocks *= std::ssize(prompts);
    }
    return plan;
  }

  Continuations run(std::span<const GenerationPrompt> prompts, const Way& way = {}) const {
    Rendezvous rendezvous{Rank{}};
    const auto communicator = make_communicator({}, at::kCPU, rendezvous);
    Generator generator(directory_,
                        {.streams = {{"fp16", {}}, {"int8", int8()}},
                         .decoding = way.rule,
                         .end = way.end,
                         .place = way.place},
                        {}, *communicator);
    const GenerationGroup group{prompts, plan(prompts, way)};
    return generator
        .run({&group, 1}, plain_rotation(model()), group.plan.length, way.is_settled, {})
        .front();
  }
  Continuations run(const Way& way = {}) const { return run(prompts_, way); }

  // The likeliest next tokens by a plain forward pass in double, over what `cached` makes of K and
  // V.
  std::vector<int32_t> plain(std::vector<int32_t> ids, int64_t count,
                             const std::function<at::Tensor(const at::Tensor&)>& cached) const {
    std::vector<int32_t> all(static_cast<size_t>(model().vocab));
    std::iota(all.begin(), all.end(), 0);
    const at::Tensor head = at::empty({model().vocab, model().hidden}, at::kDouble);
    embed_tokens(directory_, all, head);
    const at::Tensor norm = whole_tensor(model(), 0, LayerTensor::kAttentionNorm);
    std::vector<int32_t> found;
    for (int64_t i = 0; i < count; ++i) {
      const at::Tensor hidden = at::empty({std::ssize(ids), model().hidden}, at::kDouble);
      embed_tokens(directory_, ids, hidden);
      const at::Tensor last = plain_forward(model(), hidden, cached).output.slice(0, -1);
      const at::Tensor logits = at::mm(normed(last, norm), head.t());
      found.push_back(logits.argmax(-1).to(at::kInt).item<int32_t>());
      ids.push_back(found.back());
    }
    return found;
  }

  static at::Tensor to_half(const at::Tensor& exact) { return exact.to(at::kHalf).to(at::kDouble); }
  static at::Tensor through_int8(const at::Tensor& exact) {
    const at::Tensor codes = ((to_half(exact) - kZero) / kScale).round().clamp(-128, 127);
    return to_half(codes * kScale + kZero);
  }

  static constexpr float kScale = 0.0125f, kZero = 0.03f;
  const fixture::TemporaryFolder folder_;
  const PlainDirectory directory_{folder_.path(), fixture::small_model(),
                                  PlainDirectory::Order::kEngine};
  std::vector<GenerationPrompt> prompts_;
};

TEST_F(GeneratorTest, ContinuesAsAPlainForwardPassInDoubleDoes) {
  ASSERT_EQ(common_prefix(prompts_), 128);
  const Continuations found = run();
  for (size_t prompt = 0; prompt < prompts_.size(); ++prompt) {
    const GenerationPrompt& given = prompts_[prompt];
    EXPECT_EQ(found[prompt][0].ids, plain(given.ids, given.most_new, to_half)) << prompt;
    EXPECT_EQ(found[prompt][1].ids, plain(given.ids, given.most_new, through_int8)) << prompt;
    EXPECT_FALSE(found[prompt][0].ended);
  }
}

TEST_F(GeneratorTest, GivesTheSameTokensInWhateverCompany) {
  const Continuations expected = run();
  EXPECT_EQ(run({.rows = 1}), expected);
  EXPECT_EQ(run({.rows = 2}), expected);
  EXPECT_EQ(run({.shares_prefix = false}), expected);
  EXPECT_EQ(run({.place = WeightPlace::kFiles}), expected);
  std::vector<GenerationPrompt> reversed = prompts_;
  std::reverse(reversed.begin(), reversed.end());
  Continuations found = run(reversed);
  std::reverse(found.begin(), found.end());
  EXPECT_EQ(found, expected);
  for (size_t prompt = 0; prompt < prompts_.size(); ++prompt)
    EXPECT_EQ(run(std::span(prompts_).subspan(prompt, 1)).front(), expected[prompt]);
}

// More tokens of all streams than go through the layers together.
TEST_F(GeneratorTest, TakesAnyPrefix) {
  std::vector<GenerationPrompt> prompts(2);
  for (int32_t id = 0; id < 1400; ++id) prompts[0].ids.push_back(id * 7 % 50);
  prompts[1].ids = prompts[0].ids;
  prompts[1].ids.push_back(3);
  prompts[0].most_new = prompts[1].most_new = 2;
  ASSERT_EQ(common_prefix(prompts), 1344);
  EXPECT_EQ(run(prompts), run(prompts, {.shares_prefix = false}));
}

TEST_F(GeneratorTest, EndsWhereATextEndsOrIsSettled) {
  const Continuations whole = run();
  const int32_t end = whole[0][0].ids[3];
  const Continuations ended = run({.end = end});
  for (size_t prompt = 0; prompt < prompts_.size(); ++prompt)
    for (size_t stream = 0; stream < 2; ++stream) {
      const std::vector<int32_t>& ids = whole[prompt][stream].ids;
      const auto at = std::find(ids.begin(), ids.end(), end);
      EXPECT_EQ(ended[prompt][stream].ids, std::vector<int32_t>(ids.begin(), at));
      EXPECT_EQ(ended[prompt][stream].ended, at != ids.end());
    }
  const Continuations settled =
      run({.is_settled = [](size_t prompt, size_t stream, std::span<const int32_t> ids) {
        return prompt == 1 && stream == 1 && ids.size() == 2;
      }});
  EXPECT_EQ(settled[1][1].ids,
            std::vector<int32_t>(whole[1][1].ids.begin(), whole[1][1].ids.begin() + 2));
  EXPECT_TRUE(settled[1][1].settled);
  EXPECT_FALSE(settled[1][1].ended);
  EXPECT_EQ(settled[1][0], whole[1][0]);
}

TEST_F(GeneratorTest, DecodesByTheRuntimesRule) {
  const Continuations plain = run();
  const Continuations exact = run({.rule = {.newest_is_exact = true}});
  for (size_t prompt = 0; prompt < prompts_.size(); ++prompt) {
    EXPECT_EQ(exact[prompt][0], plain[prompt][0]);  // 16 bits know no such rule
    EXPECT_EQ(exact[prompt][1].ids.front(), plain[prompt][1].ids.front());  // of the prompt alone
  }
}

TEST_F(GeneratorTest, RefusesFormatsThatItsCacheDoesNotHold) {
  const CacheFormat of_token{CacheFormat::Kind::kInt8OfToken, {}, {}};
  EXPECT_HOLDS("16 bits or static int8", message_of([&] {
                 StreamCache(of_token, {}, model(), {0, 1}, 1, at::kCPU);
               }));
}

TEST_F(GeneratorTest, TakesAsManySequencesAsFit) {
  constexpr WeightPlace kPlace = WeightPlace::kEveryDevice;
  const uint64_t all = plan_generation(model(), prompts_, room(uint64_t{1} << 33), kPlace).total();
  EXPECT_TRUE(fits(model(), prompts_, room(all), kPlace));
  EXPECT_EQ(plan_generation(model(), prompts_, room(all), kPlace).rows, std::ssize(prompts_));
  EXPECT_FALSE(fits(model(), prompts_, room(all - 1), kPlace));
  const GenerationPlan fewer = plan_generation(model(), prompts_, room(all - 1), kPlace);
  EXPECT_LT(fewer.rows, std::ssize(prompts_));
  EXPECT_LE(fewer.total(), all - 1);
}

TEST_F(GeneratorTest, PlansForAShareOfTheLayersAndTheCachesOfAllGroups) {
  GenerationRoom shared = room(uint64_t{1} << 33);
  const GenerationPlan whole =
      plan_generation(model(), prompts_, shared, WeightPlace::kEveryDevice);
  shared.ranks = 2;  // of three layers one has two
  const GenerationPlan half = plan_generation(model(), prompts_, shared, WeightPlace::kDivided);
  EXPECT_EQ(half.weight_bytes * 3, whole.weight_bytes * 2);
  EXPECT_EQ(half.cache_bytes * 3, whole.cache_bytes * 4);
  shared.ranks = model().layers + 1;
  EXPECT_FALSE(fits(model(), prompts_, shared, WeightPlace::kDivided));
}

TEST_F(GeneratorTest, IsRefusedWhereNotOnePromptFits) {
  EXPECT_HOLDS("are free; use a shorter --length", message_of([&] {
                 plan_generation(model(), prompts_, room(1000), WeightPlace::kFiles);
               }));
}

// Groups of other sizes, one of them empty, over ranks of other numbers of layers.
TEST_F(GeneratorTest, GivesTheSameTokensWhereLayersAreDividedAmongRanks) {
  const Continuations expected = run();
  const auto of_group = [](const Continuations& all, size_t first, size_t count) {
    return Continuations(all.begin() + static_cast<int64_t>(first),
                         all.begin() + static_cast<int64_t>(first + count));
  };
  const auto prompts = [&](size_t first, size_t count) {
    return std::span(prompts_).subspan(first, count);
  };
  for (const int64_t ranks : {2, 3}) {
    std::vector<GenerationGroup> groups = {{prompts(0, 4), plan(prompts(0, 4), {})},
                                           {prompts(4, 2), plan(prompts(4, 2), {.rows = 1})}};
    if (ranks == 3) groups.insert(groups.begin(), GenerationGroup{});
    std::atomic<int64_t> right{0};
    run_rank_threads(ranks, [&](const Rank& rank, Rendezvous& rendezvous) {
      const auto communicator = make_communicator(rank, at::kCPU, rendezvous);
      Generator generator(directory_,
                          {.streams = {{"fp16", {}}, {"int8", int8()}},
                           .decoding = {},
                           .end = {},
                           .place = WeightPlace::kDivided},
                          {}, *communicator);
      auto found = generator.run(groups, plain_rotation(model()), 300, {}, {});
      right += found[static_cast<size_t>(ranks - 2)] == of_group(expected, 0, 4) &&
               found.back() == of_group(expected, 4, 2);
    });
    EXPECT_EQ(right, ranks);
  }
}

}  // namespace
}  // namespace kvcalib
