// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include "sharding/formats/model_config.h"

namespace kvcalib {

// What a model is computed in.  GPUs compute in the model's own type, CPUs in float32: 16-bit
// arithmetic there is hundreds of times slower.
inline at::ScalarType compute_type(const ModelConfig& config, const c10::Device& device) {
  if (device.is_cpu()) return at::kFloat;
  return config.weight_type == WeightType::kFloat16 ? at::kHalf : at::kBFloat16;
}

}  // namespace kvcalib
