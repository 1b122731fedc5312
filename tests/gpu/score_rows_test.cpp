// SPDX-License-Identifier: Apache-2.0
#include "kernels/score_rows.h"

#include <ATen/ATen.h>

#include "calibrate/engine/row_scores.h"
#include "tests/gpu/device_array.h"
#include "tests/kernels/score_case.h"

namespace kvcalib::kernels {
namespace {

class GpuScoreRows : public GpuTest {
 protected:
  // `offset`: 1 for rows that no wide access fits.
  RowScores score(const ScoreCase& shape, const std::vector<float>& logits, int64_t offset = 0) {
    DeviceArray<float> on_device(logits, offset);
    DeviceArray<int32_t> top(std::vector<int32_t>(static_cast<size_t>(shape.rows), -1));
    DeviceArray<double> log_sum(std::vector<double>(static_cast<size_t>(shape.rows)));
    score_rows({.logits = on_device.data(),
                .stride = shape.stride(),
                .rows = shape.rows,
                .vocab = shape.vocab,
                .top = top.data(),
                .log_sum = log_sum.data()},
               stream_);
    return {top.to_host(), log_sum.to_host()};
  }

  RowDivergences diverge(const ScoreCase& shape, int64_t offset = 0) {
    DeviceArray<float> base(shape.base, offset), other(shape.other, offset);
    DeviceArray<double> base_sum(score(shape, shape.base, offset).log_sum);
    DeviceArray<double> other_sum(score(shape, shape.other, offset).log_sum);
    const std::vector<float> none(static_cast<size_t>(shape.rows), -7.0f);
    DeviceArray<float> forward(none), reverse(none);
    diverge_rows({.base = base.data(),
                  .other = other.data(),
                  .base_stride = shape.stride(),
                  .other_stride = shape.stride(),
                  .base_log_sum = base_sum.data(),
                  .other_log_sum = other_sum.data(),
                  .rows = shape.rows,
                  .vocab = shape.vocab,
                  .forward = forward.data(),
                  .reverse = reverse.data()},
                 stream_);
    return {forward.to_host(), reverse.to_host()};
  }
};

TEST_F(GpuScoreRows, AgreesWithTheLargestAndTheLogOfTheSumInDouble) {
  for (const int64_t vocab : {1, 3, 64, 1000, 12288, 152064}) {
    for (const float spread : {0.0f, 1.0f, 30.0f}) {
      for (const int64_t offset : {0, 1}) {
        const ScoreCase shape = ScoreCase::random(3, vocab, 4, 0.1f, spread);
        const RowScores found = score(shape, shape.base, offset);
        const RowScores expected = expected_scores(shape, shape.base);
        EXPECT_EQ(found.top, expected.top) << "vocab " << vocab << ", spread " << spread;
        for (size_t row = 0; row < found.top.size(); ++row)
          EXPECT_NEAR(found.log_sum[row], expected.log_sum[row], 1e-6) << vocab;
      }
    }
  }
}

TEST_F(GpuScoreRows, TakesTheFirstOfSeveralThatAreLargest) {
  for (const int64_t first : {0, 1, 5, 64, 1500, 1999}) {
    ScoreCase shape = ScoreCase::random(1, 2000, 0, 0.1f);
    for (const int64_t place : {first, first + (1999 - first) / 2, int64_t{1999}})
      shape.base[static_cast<size_t>(place)] = 50.0f;
    EXPECT_EQ(score(shape, shape.base).top.front(), first);
  }
}

TEST_F(GpuScoreRows, DivergesAsDefinedFromTinyToLargeDivergences) {
  for (const int64_t vocab : {50, 1024, 12289})
    for (const float distance : {1e-3f, 1e-2f, 0.1f, 0.5f, 1.0f, 3.0f})
      for (const int64_t offset : {0, 1}) {
        const ScoreCase shape = ScoreCase::random(4, vocab, 4, distance);
        expect_divergences(shape, diverge(shape, offset), 1e-5, "gpu");
      }
}

TEST_F(GpuScoreRows, DivergesByZeroFromEqualRowsToTheBit) {
  ScoreCase shape = ScoreCase::random(4, 5000, 0, 0.0f, 10.0f);
  shape.base[17] = shape.other[17] = -kInfinity;
  const RowDivergences found = diverge(shape);
  EXPECT_EQ(found.forward, std::vector<float>(4, 0.0f));
  EXPECT_EQ(found.reverse, std::vector<float>(4, 0.0f));
}

TEST_F(GpuScoreRows, TakesMinusInfinityForAProbabilityOfZero) {
  ScoreCase shape = ScoreCase::random(2, 1500, 0, 0.1f);
  shape.base[1100] = -kInfinity;
  shape.other[1500 + 1100] = -kInfinity;
  const RowDivergences found = diverge(shape);
  EXPECT_EQ(found.reverse[0], kInfinity);
  EXPECT_EQ(found.forward[1], kInfinity);
  EXPECT_TRUE(std::isfinite(found.forward[0]) && std::isfinite(found.reverse[1]));
}

TEST_F(GpuScoreRows, ShowsWhatIsNotFiniteInItsRowAlone) {
  for (const float bad : {std::nanf(""), kInfinity}) {
    for (const int64_t place : {0, 64, 1199}) {
      ScoreCase shape = ScoreCase::random(3, 1200, 0, 0.1f);
      shape.base[static_cast<size_t>(1200 + place)] = bad;
      const RowScores base = score(shape, shape.base);
      EXPECT_TRUE(std::isfinite(base.log_sum[0]) && std::isfinite(base.log_sum[2]));
      EXPECT_FALSE(std::isfinite(base.log_sum[1]));
      const RowDivergences found = diverge(shape);
      EXPECT_TRUE(std::isfinite(found.forward[0]) && std::isfinite(found.reverse[2]));
      EXPECT_FALSE(std::isfinite(found.forward[1]) || std::isfinite(found.reverse[1]));
    }
  }
}

TEST_F(GpuScoreRows, GivesARowTheSameBitsWhateverIsBesideIt) {
  const ScoreCase shape = ScoreCase::random(8, 12288, 0, 0.5f);
  const RowScores all = score(shape, shape.base);
  const RowDivergences diverged = diverge(shape);
  ScoreCase last = shape;
  last.rows = 1;
  last.base.erase(last.base.begin(), last.base.end() - 12288);
  last.other.erase(last.other.begin(), last.other.end() - 12288);
  EXPECT_EQ(score(last, last.base).log_sum.front(), all.log_sum.back());
  EXPECT_EQ(diverge(last).forward.front(), diverged.forward.back());
  EXPECT_EQ(diverge(last).reverse.front(), diverged.reverse.back());
}

// The engine's view of them.
TEST_F(GpuScoreRows, ServesTensors) {
  at::manual_seed(5);
  const at::Tensor base = at::randn({20, 3000}), other = at::randn({20, 3000}) * 0.1 + base;
  const at::Tensor rows = at::tensor({0, 19, 19}, at::kLong);
  const at::Tensor ids = at::tensor({2999, 0, 7}, at::kLong);
  const auto results = [&](const at::Device& device) {
    const at::Tensor b = base.to(device), o = other.to(device);
    const kvcalib::RowScores b_scores = kvcalib::score_rows(b), o_scores = kvcalib::score_rows(o);
    const kvcalib::RowDivergences found = divergences(b, b_scores, o, o_scores);
    return std::vector<at::Tensor>{
        b_scores.top.to(at::kCPU), b_scores.log_sum.to(at::kCPU), found.forward.to(at::kCPU),
        found.reverse.to(at::kCPU),
        surprises(b, b_scores, rows.to(device), ids.to(device)).to(at::kCPU)};
  };
  const auto on_gpu = results(at::kCUDA), on_cpu = results(at::kCPU);
  for (size_t i = 0; i < on_cpu.size(); ++i)
    EXPECT_TRUE(at::allclose(on_gpu[i], on_cpu[i], 1e-5, 1e-7)) << i;
}

}  // namespace
}  // namespace kvcalib::kernels
