// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "calibrate/runtimes/turbomind/releases.h"
#include "sharding/formats/rotation.h"

namespace kvcalib {

// How a release rotates a prompt of `length` tokens: by rope_theta, what its dynamic NTK makes of
// it, and rope_scaling_factor (LMDeploy: decoder_masked_multihead_attention_utils.h v0.0.14;
// LlamaBatch.cc v0.1.0, v0.3.0; unified_attention_layer.cc v0.3.0).  Where the model rotates by its
// own rules (ModelConfig::own_rotation) the release has no say.
Rotation rotation_on(const TurboMindRelease& release, const ModelConfig& config, int64_t length);

}  // namespace kvcalib
