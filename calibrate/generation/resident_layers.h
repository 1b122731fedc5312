// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/engine/pass_plan.h"
#include "sharding/formats/weight_directory.h"
#include "sharding/ranks/communicator.h"
#include "sharding/streaming/layer_source.h"

namespace kvcalib {

// All layers of a model in a device's memory, handed out again and again, from the first on: on a
// GPU as LayerWeights has them, on a CPU in the form in which it multiplies (see `packed`).
class ResidentLayers final : public LayerSource {
 public:
  // Reads every layer once, together with the other ranks, who do the same.  Throws what reading
  // throws.
  ResidentLayers(const WeightDirectory& directory, const PassSettings& settings,
                 Communicator& communicator);

  // Behind the last layer comes the first.
  const LayerWeights& next() override;
  void check() const override {}
  c10::Device device() const override { return device_; }

 private:
  const c10::Device device_;
  std::vector<LayerWeights> layers_;
  size_t next_ = 0;
};

// Bytes that they take.
uint64_t resident_layer_bytes(const ModelConfig& config, const c10::Device& device);

}  // namespace kvcalib
