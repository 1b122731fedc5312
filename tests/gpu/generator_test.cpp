// SPDX-License-Identifier: Apache-2.0
#include "calibrate/generation/generator.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "sharding/formats/turbomind_directory.h"
#include "sharding/ranks/make_communicator.h"
#include "tests/generation/even_int8.h"
#include "tests/generation/forced_decoding.h"
#include "tests/gpu/device_array.h"

namespace kvcalib {
namespace {

using Continuations = std::vector<std::vector<Continuation>>;

constexpr int64_t kNew = 24;

// The embedded model, whose weights are trained: its likeliest tokens stand apart.
class GpuGenerator : public kernels::GpuTest {
 protected:
  GpuGenerator() {
    std::mt19937 random(7);
    const auto more = [&](std::vector<int32_t> ids, int64_t count) {
      for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>(3 + random() % 2000));
      return ids;
    };
    const std::vector<int32_t> common = more({1}, 140);
    for (const int64_t own : {1, 30, 200, 64, 7, 90, 3, 12})
      prompts_.push_back({more(common, own), kNew});
  }

  CacheFormat int8() const { return even_int8(directory_.config(), 0.1f); }

  Continuations run(const c10::Device& device, const DecodingRule& rule = {}, int64_t rows = 0,
                    WeightPlace place = WeightPlace::kEveryDevice) const {
    Rendezvous rendezvous{Rank{}};
    const auto communicator = make_communicator({}, device, rendezvous);
    GenerationPlan plan = plan_generation(
        directory_.config(), prompts_,
        {{.int8 = 1, .sixteen_bits = 1}, device, stored_layer_bytes(directory_), uint64_t{1} << 34},
        place);
    EXPECT_EQ(plan.prefix_tokens, 128);
    if (rows > 0) plan.rows = rows;
    Generator generator(
        directory_,
        {.streams = {{"fp16", {}}, {"int8", int8()}}, .decoding = rule, .end = {}, .place = place},
        {.device = device}, *communicator);
    const ModelConfig& model = directory_.config();
    const GenerationGroup group{prompts_, plan};
    return generator
        .run({&group, 1}, {frequencies_of(model.rope_theta, model.head_dim), 1.0, {}}, plan.length,
             {}, {})
        .front();
  }

  // Tokens up to the first that differs, of all.
  static double alike(const Continuations& left, const Continuations& right) {
    double same = 0, all = 0;
    for (size_t prompt = 0; prompt < left.size(); ++prompt)
      for (size_t stream = 0; stream < left[prompt].size(); ++stream) {
        const std::vector<int32_t>&a = left[prompt][stream].ids, &b = right[prompt][stream].ids;
        EXPECT_EQ(a.size(), b.size());
        same += static_cast<double>(std::mismatch(a.begin(), a.end(), b.begin()).first - a.begin());
        all += static_cast<double>(a.size());
      }
    return same / all;
  }

  const TurboMindDirectory directory_ = TurboMindDirectory::open("configs/tiny-4m/weights");
  std::vector<GenerationPrompt> prompts_;
};

TEST_F(GpuGenerator, ContinuesNearlyAsTheCpuDoes) {
  const c10::Device gpu(c10::kCUDA, 0);
  for (const DecodingRule& rule : {DecodingRule{}, DecodingRule{true, false}})
    EXPECT_GT(alike(run(c10::kCPU, rule), run(gpu, rule)), 0.8);
}

TEST_F(GpuGenerator, GivesTheSameTokensAgainAndWithWeightsThatAreReadAnew) {
  const c10::Device gpu(c10::kCUDA, 0);
  const Continuations expected = run(gpu);
  EXPECT_EQ(run(gpu), expected);
  EXPECT_EQ(run(gpu, {}, 0, WeightPlace::kFiles), expected);
}

TEST_F(GpuGenerator, DecodesWhatItWouldFindInAPrompt) {
  ForcedDecoding model(directory_, {c10::kCUDA, 0});
  const std::vector<int32_t>& text = prompts_[2].ids;
  for (const CacheFormat& format : {CacheFormat{}, int8()}) {
    constexpr size_t kPrompt = 300;
    const std::vector<double> decoded = model.score(text, kPrompt, format, {});
    std::vector<double> differences;
    for (size_t i = 0; i < decoded.size(); ++i) {
      const auto first = std::span(text).first(kPrompt + i + 1);
      differences.push_back(
          std::abs(decoded[i] - model.score(first, kPrompt + i, format, {}).front()));
    }
    std::sort(differences.begin(), differences.end());
    EXPECT_LT(differences[differences.size() / 2], 1e-3);
    EXPECT_LT(differences.back(), 0.05);
  }
}

}  // namespace
}  // namespace kvcalib
