// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "sharding/streaming/device.h"

namespace kvcalib {

// Where a layer notes what was not finite: int32 [1] each, 0 while all is.
struct LayerFaults {
  at::Tensor attention_input, ffn_input;  // the hidden states before either norm
  at::Tensor keys_and_values;             // 1 for K, 2 for V
};

// What was not finite in any of the layers, noted on the device that computes.
class Faults {
 public:
  Faults(int64_t layers, const at::Device& device);

  LayerFaults of(int64_t layer) const;
  // Whatever a warm-up left is forgotten.
  void reset();

  // Called when all of a layer's work is on the current stream: what it found is on its way.
  void close(int64_t layer);
  // Waits until the device is through with a closed layer.  Throws Error for the first thing in it
  // that was not finite.
  void wait_for(int64_t layer);

  // In the place of both: waits for all that the device was given.  Throws Error for the first
  // thing in the first layer with one.
  void check_all() const;

 private:
  at::Tensor flags_;       // [layers, 3]
  at::Tensor host_flags_;  // the same, pinned; flags_ itself on the CPU
  std::vector<GpuEvent> closed_;
};

}  // namespace kvcalib
