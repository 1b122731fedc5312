// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAEvent.h>

#include <cstdint>
#include <vector>

#include "calibrate/statistics/kv_statistics.h"
#include "sharding/formats/model_config.h"
#include "sharding/ranks/communicator.h"

namespace kvcalib {

// What a layer is observed into.
struct LayerObservation {
  at::Tensor ranges;  // [4, kv_heads, head_dim] float32: minimum and maximum of K, of V; undefined:
                      // not observed
  at::Tensor faults;  // [3] int32, 0 while all is finite: attention norm's input, ffn norm's input,
                      // 1 for K | 2 for V
};

// The observations of all layers, on the device that computes.
class Observations {
 public:
  // `observe` false: no ranges are kept.
  Observations(const ModelConfig& config, const at::Device& device, bool observe);

  LayerObservation of(int64_t layer) const;
  // Whatever a warm-up left is forgotten.
  void reset();

  // Called when all of a layer's work is on the current stream: what it found is on its way.
  void close(int64_t layer);
  // Waits until the device is through a closed layer.  Throws Error for the first thing in it that
  // was not finite.
  void wait_for(int64_t layer);

  // Every rank's ranges as one.
  KvStatistics merged(Communicator& communicator) const;

 private:
  at::Tensor maxima() const;  // [layers, 2, kv_heads, head_dim]: of K and V

  const ModelConfig config_;
  at::Tensor ranges_;       // [layers, 4, kv_heads, head_dim], or undefined
  at::Tensor faults_;       // [layers, 3]
  at::Tensor host_faults_;  // the same, pinned; faults_ itself on the CPU
  std::vector<at::cuda::CUDAEvent> closed_;
};

}  // namespace kvcalib
