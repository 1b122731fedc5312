// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/importance.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "calibrate/engine/histogram_observer.h"
#include "calibrate/statistics/histograms.h"
#include "sharding/files/error.h"
#include "sharding/ranks/lone_communicator.h"

namespace kvcalib {
namespace {

// Random q, K, V and W_o of one layer, and what its importance is, written plainly in double.
struct RandomLayer {
  int64_t windows, length, kv_heads, group, head_dim, sliding_window = 0;

  int64_t heads() const { return kv_heads * group; }
  at::Tensor queries = random({windows * length, heads(), head_dim});
  at::Tensor keys = random({windows * length, kv_heads, head_dim});
  at::Tensor values = random({windows * length, kv_heads, head_dim});
  at::Tensor output = random({heads() * head_dim, 700});  // more columns than are widened at once

  static at::Tensor random(at::IntArrayRef shape) { return at::randn(shape); }

  struct Expected {
    at::Tensor keys, values;  // [length, kv_heads, head_dim]
  };
  Expected expected(int64_t window) const {
    const auto own = [&](const at::Tensor& all) {
      return all.narrow(0, window * length, length).to(at::kDouble);
    };
    const at::Tensor q = own(queries), k = own(keys), v = own(values);
    Expected sums{at::zeros_like(k), at::zeros_like(v)};
    for (int64_t query = (length - 1) % kQueryStep; query < length; query += kQueryStep) {
      const int64_t first =
          sliding_window > 0 ? std::max<int64_t>(0, query - sliding_window + 1) : 0;
      for (int64_t head = 0; head < heads(); ++head)
        add(sums, q.select(0, query).select(0, head), k, v, head, first, query + 1);
    }
    return sums;
  }

 private:
  // What one query adds to the tokens [first, last).
  void add(Expected& sums, const at::Tensor& query, const at::Tensor& k, const at::Tensor& v,
           int64_t head, int64_t first, int64_t last) const {
    const int64_t kv_head = head / group;
    const auto seen = [&](const at::Tensor& all) {
      return all.select(1, kv_head).slice(0, first, last);
    };
    const at::Tensor w = output.narrow(0, head * head_dim, head_dim).to(at::kDouble);
    const at::Tensor p =
        at::mv(seen(k), query).div(std::sqrt(static_cast<double>(head_dim))).softmax(0);
    const at::Tensor attended = at::mv(seen(v).t(), p);
    const at::Tensor moved = at::mm(seen(v) - attended, w).square().sum(1);
    seen(sums.keys).add_(
        at::outer(p.square() * moved, query.square() / static_cast<double>(head_dim)));
    seen(sums.values).add_(at::outer(p.square(), w.square().sum(1)));
  }
};

void expect_close(const at::Tensor& found, const at::Tensor& expected) {
  const double scale = expected.abs().max().item<double>();
  EXPECT_LT((found.to(at::kDouble) - expected).abs().max().item<double>(), 1e-5 * scale);
}

Importance importance(const RandomLayer& layer, int64_t window) {
  const SampledQueries sampled(layer.length, layer.sliding_window, at::kCPU);
  const auto own = [&](const at::Tensor& all) {
    return all.narrow(0, window * layer.length, layer.length);
  };
  const at::Tensor gram = output_gram(WeightMatrix(layer.output), layer.heads(), at::kCPU)
                              .view({layer.kv_heads, layer.group, layer.head_dim, layer.head_dim});
  return importance_of(sampled,
                       own(layer.queries)
                           .index_select(0, sampled.positions)
                           .view({-1, layer.kv_heads, layer.group, layer.head_dim}),
                       own(layer.keys).transpose(0, 1).contiguous(),
                       own(layer.values).transpose(0, 1).contiguous(), gram);
}

TEST(Importance, IsTheSumOverSampledQueries) {
  at::manual_seed(1);
  for (const RandomLayer& layer : {RandomLayer{1, 70, 2, 1, 8}, RandomLayer{1, 65, 2, 3, 12},
                                   RandomLayer{1, 80, 3, 2, 8, 9}, RandomLayer{1, 5, 1, 2, 4}}) {
    const Importance found = importance(layer, 0);
    const RandomLayer::Expected expected = layer.expected(0);
    expect_close(found.of_keys(), expected.keys.transpose(0, 1));
    expect_close(found.of_values(), expected.values.transpose(0, 1));
    const at::Tensor totals =
        at::stack({expected.keys.sum(2).sum(0), expected.values.sum(2).sum(0)}, 1);
    expect_close(found.totals(), totals);
  }
}

TEST(SampledQueries, HoldTheLastOfAWindow) {
  for (const int64_t length : {1, 31, 32, 33, 100}) {
    const at::Tensor positions = SampledQueries(length, 0, at::kCPU).positions;
    EXPECT_EQ(positions[-1].item<int64_t>(), length - 1);
    EXPECT_EQ(positions.numel(), (length + kQueryStep - 1) / kQueryStep);
  }
}

TEST(ObservedWindows, AreSpreadEvenlyAndAllWhereThereAreFew) {
  for (const int64_t samples : {1, 7, 32, 33, 100, 128, 1000}) {
    int64_t observed = 0, gap = 0;
    for (int64_t index = 0; index < samples; ++index) {
      gap = is_observed(index, samples) ? 0 : gap + 1;
      observed += is_observed(index, samples) ? 1 : 0;
      EXPECT_LE(gap, samples / kObservedWindows);
    }
    EXPECT_EQ(observed, std::min(samples, kObservedWindows));
  }
}

// What is gathered of the windows, `batch` of them at once.
KvStatistics gathered(const RandomLayer& layer, int64_t batch) {
  const c10::InferenceMode inference;
  ModelConfig config;
  config.layers = 1;
  config.heads = layer.heads();
  config.kv_heads = layer.kv_heads;
  config.head_dim = layer.head_dim;
  config.sliding_window = layer.sliding_window;
  HistogramObserver observer(config, {0, layer.windows, layer.length}, at::kCPU);
  LayerWeights weights;
  weights.output = WeightMatrix(layer.output);
  observer.begin(0, weights);
  for (int64_t window = 0; window < layer.windows; window += batch) {
    const int64_t tokens = std::min(batch, layer.windows - window) * layer.length;
    const auto own = [&](const at::Tensor& all) {
      return all.narrow(0, window * layer.length, tokens);
    };
    observer.observe(own(layer.queries), own(layer.keys), own(layer.values));
  }
  LoneCommunicator alone;
  KvStatistics statistics(1, layer.kv_heads, layer.head_dim);
  observer.merge_into(statistics, alone);
  return statistics;
}

// Windows of which later ones reach farther, so that bins widen on the way.
RandomLayer growing_layer() {
  at::manual_seed(2);
  RandomLayer layer{5, 40, 2, 2, 8};
  for (int64_t window = 0; window < layer.windows; ++window)
    layer.keys.narrow(0, window * layer.length, layer.length).mul_(std::pow(1.7, window));
  layer.values.select(1, 1).fill_(0);  // and a head that holds nothing
  return layer;
}

TEST(HistogramObserver, CountsAndWeighsEveryValue) {
  const RandomLayer layer = growing_layer();
  const KvStatistics found = gathered(layer, 2);
  for (const KvTensor& tensor : kKvTensors) {
    const bool is_key = tensor.statistics == &KvStatistics::keys;
    const at::Tensor all = is_key ? layer.keys : layer.values;
    std::vector<at::Tensor> weights;
    for (int64_t window = 0; window < layer.windows; ++window) {
      const RandomLayer::Expected expected = layer.expected(window);
      const at::Tensor own = is_key ? expected.keys : expected.values;
      weights.push_back(own / own.sum() * 0x1p52);
    }
    const at::Tensor weight = at::cat(weights);
    for (int64_t head = 0; head < layer.kv_heads; ++head) {
      SCOPED_TRACE(concat(tensor.symbol, " of head ", head));
      const HeadHistograms own = (found.*tensor.histograms).heads(static_cast<size_t>(head), 1);
      const at::Tensor values = all.select(1, head).flatten();
      const double width = half_span(extremes_of(own)) / 512;
      const at::Tensor bins = (values / width).floor().add(512).to(at::kLong);
      const at::Tensor counts = bins.bincount({}, kHistogramBins);
      const at::Tensor masses = bins.bincount(weight.select(1, head).flatten(), kHistogramBins);
      for (int64_t bin = 0; bin < kHistogramBins; ++bin) {
        const auto index = static_cast<size_t>(bin);
        ASSERT_EQ(own.counts[index], static_cast<float>(counts[bin].item<int64_t>())) << bin;
        ASSERT_NEAR(own.importance[index], masses[bin].item<double>(), 1e-5 * 0x1p52) << bin;
      }
    }
  }
}

TEST(HistogramObserver, TellsTheExtremesWithoutTheFirstTokens) {
  for (const int64_t length : {1, 4, 40}) {
    at::manual_seed(3);
    const RandomLayer layer{3, length, 2, 1, 4};
    const TensorHistograms found = gathered(layer, 1).value_histograms;
    const at::Tensor values = layer.values.view({3, length, 2, 4});
    for (int64_t head = 0; head < 2; ++head) {
      for (int64_t n = 0; n <= kMostLeftOut; ++n) {
        const at::Tensor rest = values.slice(1, std::min(n, length - 1)).select(2, head);
        const Extremes extremes = extremes_of(found.heads(static_cast<size_t>(head), 1), n);
        EXPECT_EQ(extremes.low, std::min(0.0, rest.min().item<double>())) << length << " " << n;
        EXPECT_EQ(extremes.high, std::max(0.0, rest.max().item<double>())) << length << " " << n;
      }
    }
  }
}

TEST(HistogramObserver, GivesTheSameBitsForEveryMicroBatch) {
  const RandomLayer layer = growing_layer();
  const KvStatistics alone = gathered(layer, 1);
  for (const int64_t batch : {2, 5}) {
    const KvStatistics found = gathered(layer, batch);
    EXPECT_EQ(found.key_histograms, alone.key_histograms);
    EXPECT_EQ(found.value_histograms, alone.value_histograms);
  }
}

}  // namespace
}  // namespace kvcalib
