// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/engine/pass_plan.h"
#include "calibrate/engine/run_layers.h"
#include "sharding/formats/weight_directory.h"
#include "sharding/ranks/communicator.h"
#include "sharding/streaming/layer_source.h"

namespace kvcalib {

// Layers of a model in a device's memory, handed out again and again, from the first on: on a GPU
// as LayerWeights has them, on a CPU in the form in which it multiplies (see `packed`).
class ResidentLayers final : public LayerSource {
 public:
  // Reads each of the layers once, together with the other ranks of the communicator, who want the
  // same.  Throws what reading throws.
  ResidentLayers(const WeightDirectory& directory, const LayerRange& layers,
                 const PassSettings& settings, Communicator& communicator);

  // Behind the last layer comes the first.
  const LayerWeights& next() override;
  void check() const override {}
  c10::Device device() const override { return device_; }

 private:
  const c10::Device device_;
  std::vector<LayerWeights> layers_;
  size_t next_ = 0;
};

// Bytes that so many of them take.
uint64_t resident_layer_bytes(const ModelConfig& config, int64_t layers, const c10::Device& device);

}  // namespace kvcalib
