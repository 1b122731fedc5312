// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/output/runtime_release.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// How a runtime release rotates positions 0 .. length-1 of one prompt of `length` tokens.
struct RotaryTable {
  std::vector<float> cosine, sine;  // [length, head_dim / 2]
  std::vector<float> query_scale;   // [length]: logn attention; empty where it changes nothing
};

// Where the model rotates by its own rules (ModelConfig::own_rotation), the release has no say in
// any of these.

// The base of the angles: rope_theta, or what that release's dynamic NTK makes of it for a prompt
// of `length` tokens (LMDeploy: decoder_masked_multihead_attention_utils.h v0.0.14; LlamaBatch.cc
// v0.1.0, v0.3.0).
double rotary_base(const ModelConfig& config, const RuntimeRelease& release, int64_t length);

// What that release divides positions by: rope_scaling_factor on v0.3.0 without dynamic NTK, else 1
// (unified_attention_layer.cc v0.3.0).
double position_divisor(const ModelConfig& config, const RuntimeRelease& release);

// Angles of the pairs 0 .. head_dim/2 - 1 per position, before the division: base^(-2j / head_dim),
// or what the model's own scaling makes of it (Llama 3.1: transformers modeling_rope_utils.py,
// _compute_llama3_parameters).
std::vector<double> rotary_frequencies(const ModelConfig& config, const RuntimeRelease& release,
                                       int64_t length);

// Whether K, and attention, of a prompt of `length` tokens are the same for one model on one
// release and for another (or the same with other keys in its config) on another.
bool rotate_alike(const ModelConfig& one, const RuntimeRelease& release_of_one,
                  const ModelConfig& other, const RuntimeRelease& release_of_other, int64_t length);

// Angle of pair j at position t: t / divisor * frequency j, in double, its cosine and sine in
// float32.
RotaryTable make_rotary_table(const ModelConfig& config, const RuntimeRelease& release,
                              int64_t length);

}  // namespace kvcalib
