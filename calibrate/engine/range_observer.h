// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "calibrate/engine/decoder_layer.h"
#include "calibrate/statistics/kv_statistics.h"
#include "sharding/formats/model_config.h"
#include "sharding/ranks/communicator.h"

namespace kvcalib {

// The hook of a calibration: the ranges of K and V in all layers, and how far K's rotary pairs
// reach, on the device that computes.
class RangeObserver {
 public:
  RangeObserver(const ModelConfig& config, const at::Device& device);

  KvHook hook(int64_t layer) const;
  // Whatever a warm-up left is forgotten.
  void reset();

  // Every rank's ranges and reach as one.
  KvStatistics merged(Communicator& communicator) const;

 private:
  const ModelConfig config_;
  const KvRanges ranges_;   // [layers, kv_heads, head_dim] each
  const at::Tensor reach_;  // [layers, kReachDirections, kv_heads, head_dim / 2]
};

}  // namespace kvcalib
