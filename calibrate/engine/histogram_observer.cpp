// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/histogram_observer.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/frexp.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "calibrate/engine/tasks.h"

namespace kvcalib {
namespace {

constexpr double kHalf = kHistogramBins / 2;
constexpr double kWindowWeight = 0x1p52;    // of all values of a window in a layer
constexpr double kLargestFactor = 0x1p120;  // a float32
constexpr int64_t kGpuHeads = 16;           // at once: bounds what a window takes

int64_t heads_at_once(const at::Device& device) { return device.is_cpu() ? 1 : kGpuHeads; }

// Lowest and highest of the first tokens and of the rest, of which the first n are left out for
// n = 0 .. kMostLeftOut, or 0: [heads, kMostLeftOut + 1, 2] of [heads, tokens, channels].
at::Tensor extremes_of(const at::Tensor& values, const at::Tensor& left_out) {
  const int64_t first = std::min(kMostLeftOut, values.size(1) - 1);
  const auto ends = [&](const at::Tensor& signed_values) {  // the highest
    const at::Tensor tokens = signed_values.amax(-1);
    const at::Tensor pieces =
        at::cat({tokens.narrow(1, 0, first),
                 tokens.narrow(1, first, tokens.size(1) - first).amax(1, /*keepdim=*/true)},
                1);
    const at::Tensor behind = at::ones({first + 1, first + 1}, pieces.options()).tril(-1).gt(0);
    return pieces.unsqueeze(1)
        .expand({-1, first + 1, -1})
        .masked_fill(behind, 0)
        .amax(-1)
        .clamp_min(0)
        .index_select(1, left_out);
  };
  return at::stack({ends(values.neg()).neg(), ends(values)}, -1);
}

// 2^k of each head's bins: [heads, 1] of extremes [heads, kMostLeftOut + 1, 2].  A quotient of a
// number and its fraction, which is exact.
at::Tensor half_spans(const at::Tensor& extremes) {
  const at::Tensor farthest = extremes.select(1, 0)
                                  .abs()
                                  .amax(-1, /*keepdim=*/true)
                                  .clamp_min(std::ldexp(0.5, kLeastExponent));
  return farthest.div(std::get<0>(at::frexp(farthest)));
}

// The bins of distances from 0 in widths, which are lost.  Of what is not finite it is any bin:
// that ends the run.
at::Tensor to_bins(const at::Tensor& distances) {
  return distances.floor_().add_(kHalf).to(at::kLong).clamp_(0, kHistogramBins - 1);
}

// Histograms [heads, kHistogramBins] by bins that are `ratio` [heads, 1] times as wide.
at::Tensor coarsened(const at::Tensor& histograms, const at::Tensor& ratio) {
  const at::Tensor bins = at::arange(kHistogramBins, ratio.options()).sub_(kHalf);
  const at::Tensor index = to_bins(bins.div(ratio));
  return at::zeros_like(histograms).scatter_add_(1, index, histograms);
}

at::Tensor merge_extremes(const at::Tensor& a, const at::Tensor& b) {
  return at::stack({at::minimum(a.select(-1, 0), b.select(-1, 0)),
                    at::maximum(a.select(-1, 1), b.select(-1, 1))},
                   -1);
}

std::vector<float> to_floats(const at::Tensor& tensor) {
  const at::Tensor host = tensor.cpu().to(at::kFloat).contiguous();
  const float* const first = host.const_data_ptr<float>();
  std::vector<float> values(first, first + host.numel());
  for (float& value : values) value += 0.0F;  // -0 and 0 are one value
  return values;
}

}  // namespace

bool is_observed(int64_t index, int64_t samples) {
  const int64_t observed = std::min(samples, kObservedWindows);
  return (index + 1) * observed / samples > index * observed / samples;
}

HistogramObserver::HistogramObserver(const ModelConfig& config, const OwnWindows& windows,
                                     const at::Device& device)
    : config_(config),
      windows_(windows),
      device_(device),
      sampled_(windows.length, config.sliding_window, device),
      left_out_(at::arange(kMostLeftOut + 1, at::kLong).clamp_max(windows.length - 1).to(device)),
      keys_(make_sums()),
      values_(make_sums()) {}

HistogramObserver::Sums HistogramObserver::make_sums() const {
  const auto zeros = [&](at::IntArrayRef shape, at::ScalarType type) {
    return at::zeros(shape, at::device(device_).dtype(type));
  };
  const int64_t layers = config_.layers, heads = config_.kv_heads;
  return {zeros({layers, heads, kHistogramBins}, at::kLong),
          zeros({layers, heads, kHistogramBins}, at::kLong),
          zeros({layers, heads, kMostLeftOut + 1, 2}, at::kFloat)};
}

void HistogramObserver::begin(int64_t layer, const LayerWeights& weights) {
  layer_ = layer;
  next_window_ = windows_.first;
  gram_ = output_gram(weights.output, config_.heads, device_)
              .view({config_.kv_heads, -1, config_.head_dim, config_.head_dim});
}

void HistogramObserver::observe(const at::Tensor& queries, const at::Tensor& keys,
                                const at::Tensor& values) {
  for (int64_t token = 0; token < keys.size(0); token += windows_.length, ++next_window_) {
    if (!is_observed(next_window_, windows_.samples)) continue;
    const auto window = [&](const at::Tensor& all) {
      return all.narrow(0, token, windows_.length);
    };
    observe_window(window(queries), window(keys), window(values));
  }
}

template <typename Work>
void HistogramObserver::for_heads(const Work& work) const {
  const int64_t at_once = heads_at_once(device_);
  const int64_t parts = (config_.kv_heads + at_once - 1) / at_once;
  const auto run = [&](int64_t part) {
    const int64_t first = part * at_once;
    work(part, first, std::min(at_once, config_.kv_heads - first));
  };
  if (!device_.is_cpu()) {
    for (int64_t part = 0; part < parts; ++part) run(part);
    return;
  }
  // Within a task Torch computes on one thread, so that sums do not depend on how many there are.
  share_tasks(parts, [&](TaskQueue& queue) {
    while (const std::optional<int64_t> part = queue.next()) run(*part);
  });
}

void HistogramObserver::observe_window(const at::Tensor& queries, const at::Tensor& keys,
                                       const at::Tensor& values) {
  std::vector<Part> parts(static_cast<size_t>(config_.kv_heads));
  const at::Tensor totals =
      at::empty({config_.kv_heads, 2}, at::device(device_).dtype(at::kDouble));
  const int64_t group = config_.heads / config_.kv_heads;
  for_heads([&](int64_t index, int64_t first, int64_t count) {
    const auto own = [&](const at::Tensor& all) {
      return all.narrow(1, first, count).transpose(0, 1).to(at::kFloat).contiguous();
    };
    Part& part = parts[static_cast<size_t>(index)];
    part.keys = own(keys);
    part.values = own(values);
    const at::Tensor asked = queries.narrow(1, first * group, count * group)
                                 .index_select(0, sampled_.positions)
                                 .to(at::kFloat)
                                 .view({-1, count, group, config_.head_dim});
    part.importance =
        importance_of(sampled_, asked, part.keys, part.values, gram_.narrow(0, first, count));
    totals.narrow(0, first, count).copy_(part.importance.totals());
  });
  const at::Tensor total = totals.sum(0);
  const at::Tensor factors =
      at::where(total.gt(0), total.reciprocal().mul(kWindowWeight).clamp_max(kLargestFactor), 0.0)
          .to(at::kFloat);
  for_heads([&](int64_t index, int64_t first, int64_t /*count*/) {
    Part& part = parts[static_cast<size_t>(index)];
    add(keys_, first, part.keys, part.importance.of_keys(), factors[0]);
    add(values_, first, part.values, part.importance.of_values(), factors[1]);
    part = {};
  });
}

void HistogramObserver::add(const Sums& sums, int64_t first_head, const at::Tensor& values,
                            const at::Tensor& importance, const at::Tensor& factor) const {
  const auto own = [&](const at::Tensor& all) {
    return all[layer_].narrow(0, first_head, values.size(0));
  };
  const at::Tensor extremes = merge_extremes(own(sums.extremes), extremes_of(values, left_out_));
  const at::Tensor span = half_spans(extremes);
  const at::Tensor ratio = span.div(half_spans(own(sums.extremes)));
  const at::Tensor index = to_bins(values.flatten(1).mul(span.reciprocal().mul_(kHalf)));
  const at::Tensor weights = importance.mul(factor).round_().to(at::kLong).flatten(1);
  const at::Tensor ones = at::ones({1, 1}, weights.options()).expand_as(index);
  own(sums.counts).copy_(coarsened(own(sums.counts), ratio).scatter_add_(1, index, ones));
  own(sums.importance)
      .copy_(coarsened(own(sums.importance), ratio).scatter_add_(1, index, weights));
  own(sums.extremes).copy_(extremes);
}

void HistogramObserver::merge_into(KvStatistics& statistics, Communicator& communicator) const {
  statistics.key_histograms = merged(keys_, communicator);
  statistics.value_histograms = merged(values_, communicator);
}

TensorHistograms HistogramObserver::merged(const Sums& own, Communicator& communicator) const {
  const int64_t heads = config_.layers * config_.kv_heads;
  const at::Tensor low = own.extremes.select(-1, 0).contiguous();
  const at::Tensor high = own.extremes.select(-1, 1).neg().contiguous();
  communicator.all_reduce_minimum(low);
  communicator.all_reduce_minimum(high);
  const at::Tensor extremes = at::stack({low, high.neg()}, -1);
  const auto spans = [&](const at::Tensor& of) {
    return half_spans(of.view({heads, kMostLeftOut + 1, 2}));
  };
  const at::Tensor ratio = spans(extremes).div(spans(own.extremes));
  const auto summed = [&](const at::Tensor& histograms) {
    const at::Tensor all = coarsened(histograms.view({heads, kHistogramBins}), ratio);
    communicator.all_reduce_sum(all);
    return to_floats(all);
  };
  return {summed(own.counts), summed(own.importance), to_floats(extremes)};
}

uint64_t histogram_bytes(const ModelConfig& config, int64_t length, const at::Device& device) {
  const int64_t histograms = 2 * 2 * config.layers * config.kv_heads * kHistogramBins * 8;
  const int64_t sampled = (length + kQueryStep - 1) / kQueryStep * config.heads;
  // K, V, pulls and shares of all heads; of those at once G v, scores, importance, indices,
  // weights.
  const int64_t window =
      length * (2 * config.kv_heads * config.head_dim + sampled + config.heads) * 4;
  const int64_t group = config.heads / config.kv_heads;
  const int64_t at_once = device.is_cpu() ? at::get_num_threads() : kGpuHeads;
  const int64_t part =
      std::min(at_once, config.kv_heads) * length *
      (config.head_dim * (4 * group + 4 + 4 + 8 + 8) + sampled / config.kv_heads * 4 * 4);
  return static_cast<uint64_t>(histograms + window + part);
}

}  // namespace kvcalib
