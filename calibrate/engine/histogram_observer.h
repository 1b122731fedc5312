// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>

#include "calibrate/engine/importance.h"
#include "calibrate/statistics/kv_statistics.h"
#include "sharding/formats/model_config.h"
#include "sharding/ranks/communicator.h"
#include "sharding/streaming/layer_source.h"

namespace kvcalib {

// Of all windows, as many are looked at, spread evenly over them.
inline constexpr int64_t kObservedWindows = 16;

// Whether window `index` of `samples` is one of them.
bool is_observed(int64_t index, int64_t samples);

// The windows of a rank.
struct OwnWindows {
  int64_t first = 0;    // of all
  int64_t samples = 0;  // of all ranks
  int64_t length = 0;   // tokens of each
};

// The histograms of a calibration, gathered on the device that computes.  All sums are of whole
// numbers that each window gives by itself: how the windows are divided does not matter.  It waits
// for nothing.
class HistogramObserver {
 public:
  HistogramObserver(const ModelConfig& config, const OwnWindows& windows, const at::Device& device);

  // The layer whose micro-batches come next, the rank's first window first.
  void begin(int64_t layer, const LayerWeights& weights);
  // Whole windows: queries [tokens, heads, head_dim], K and V [tokens, kv_heads, head_dim].
  void observe(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values);

  // Puts every rank's histograms as one into the statistics.
  void merge_into(KvStatistics& statistics, Communicator& communicator) const;

 private:
  // Of K or V, by kv head.
  struct Sums {
    at::Tensor counts, importance;  // int64 [layers, kv_heads, kHistogramBins]
    at::Tensor extremes;            // float32 [layers, kv_heads, kMostLeftOut + 1, 2]
  };
  // One window of some kv heads, or what is kept of it until all heads are weighed.
  struct Part {
    at::Tensor keys, values;  // [kv_heads, length, head_dim]
    Importance importance;
  };

  Sums make_sums() const;
  void observe_window(const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values);
  // Calls work(part, first head, heads) for all kv heads, a few at a time.
  template <typename Work>
  void for_heads(const Work& work) const;
  void add(const Sums& sums, int64_t first_head, const at::Tensor& values,
           const at::Tensor& importance, const at::Tensor& factor) const;
  TensorHistograms merged(const Sums& own, Communicator& communicator) const;

  const ModelConfig config_;
  const OwnWindows windows_;
  const at::Device device_;
  const SampledQueries sampled_;
  const at::Tensor left_out_;  // int64 [kMostLeftOut + 1]: of the ends of a window, see add
  const Sums keys_, values_;
  int64_t layer_ = 0, next_window_ = 0;
  at::Tensor gram_;  // of the layer
};

// Bytes that an observer holds on its device, with what a window takes.
uint64_t histogram_bytes(const ModelConfig& config, int64_t length, const at::Device& device);

}  // namespace kvcalib
