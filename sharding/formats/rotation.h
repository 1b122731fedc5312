// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "sharding/formats/model_config.h"

namespace kvcalib {

// How q and k of a prompt rotate, and by what queries are scaled: pair j at position t turns by
// t / divisor * frequencies[j].
struct Rotation {
  std::vector<double> frequencies;  // [head_dim / 2]
  double divisor = 1.0;
  std::vector<float> query_scale;  // [length]: logn attention; empty where it changes nothing

  bool operator==(const Rotation&) const = default;
};

// As the model's own code rotates a prompt of `length` tokens (ModelConfig::own_rotation, which
// must be there).  Llama 3.1: transformers modeling_rope_utils.py, _compute_llama3_parameters.
Rotation own_rotation(const ModelConfig& config, int64_t length);

// What these and a runtime's rules are made of.

// base^(-2j / head_dim) for the pairs j.
std::vector<double> frequencies_of(double base, int64_t head_dim);
// The base that dynamic NTK makes of theta.
double ntk_base(double theta, double alpha, int64_t head_dim);
// Its alpha by the context's length, in powers of two: Qwen's code and TurboMind v0.0.6 to v0.0.14.
double stepwise_alpha(double length, double trained);
// Its alpha by the request's length: transformers' `dynamic` and TurboMind since v0.1.0.
double request_alpha(double factor, double length, double trained);
// Logn attention: log(position + 1) / log(trained), at least 1, for positions below `length`; empty
// where the prompt is no longer than the model was trained for or that is not known.
std::vector<float> logn_query_scale(int64_t length, int64_t trained);

}  // namespace kvcalib
