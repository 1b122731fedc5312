// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/rotation.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kvcalib {
namespace {

using Kind = RopeScaling::Kind;

double own_base(const ModelConfig& config, int64_t length) {
  const RopeScaling& scaling = *config.own_rotation;
  const auto limit = static_cast<double>(length);
  const auto trained = static_cast<double>(scaling.original_positions);
  if (scaling.kind == Kind::kDynamic && limit > trained)
    return ntk_base(config.rope_theta, request_alpha(scaling.factor, limit, trained),
                    config.head_dim);
  if (scaling.kind == Kind::kQwen)
    return ntk_base(config.rope_theta, stepwise_alpha(limit, trained), config.head_dim);
  return config.rope_theta;
}

// Llama 3.1's: what turns less than low_frequency_factor times over the trained length is slowed by
// `factor`, what turns more than high_frequency_factor times is kept.
double llama3_frequency(const RopeScaling& scaling, double frequency) {
  const double turns =
      static_cast<double>(scaling.original_positions) * frequency / (2.0 * std::numbers::pi);
  if (turns < scaling.low_frequency_factor) return frequency / scaling.factor;
  if (turns > scaling.high_frequency_factor) return frequency;
  const double kept = (turns - scaling.low_frequency_factor) /
                      (scaling.high_frequency_factor - scaling.low_frequency_factor);
  return (1.0 - kept) * frequency / scaling.factor + kept * frequency;
}

}  // namespace

Rotation own_rotation(const ModelConfig& config, int64_t length) {
  const RopeScaling& scaling = *config.own_rotation;
  Rotation rotation;
  rotation.frequencies = frequencies_of(own_base(config, length), config.head_dim);
  if (scaling.kind == Kind::kLlama3) {
    for (double& frequency : rotation.frequencies) frequency = llama3_frequency(scaling, frequency);
  }
  if (scaling.kind == Kind::kLinear) rotation.divisor = scaling.factor;
  if (config.use_logn_attention)
    rotation.query_scale = logn_query_scale(length, config.max_position_embeddings);
  return rotation;
}

std::vector<double> frequencies_of(double base, int64_t head_dim) {
  std::vector<double> frequencies;
  for (int64_t pair = 0; pair < head_dim / 2; ++pair)
    frequencies.push_back(
        std::pow(base, -2.0 * static_cast<double>(pair) / static_cast<double>(head_dim)));
  return frequencies;
}

double ntk_base(double theta, double alpha, int64_t head_dim) {
  const auto dimensions = static_cast<double>(head_dim);
  return theta * std::pow(alpha, dimensions / (dimensions - 2.0));
}

double stepwise_alpha(double length, double trained) {
  if (length < trained) return 1.0;
  return std::max(std::exp2(std::ceil(std::log2(length / trained) + 1.0)) - 1.0, 1.0);
}

double request_alpha(double factor, double length, double trained) {
  return factor * length / trained - (factor - 1.0);
}

std::vector<float> logn_query_scale(int64_t length, int64_t trained) {
  if (trained <= 1 || length <= trained) return {};
  const double denominator = std::log(static_cast<double>(trained));
  std::vector<float> scales;
  for (int64_t position = 0; position < length; ++position) {
    const double scale = std::log(static_cast<double>(position + 1)) / denominator;
    scales.push_back(static_cast<float>(std::max(scale, 1.0)));
  }
  return scales;
}

}  // namespace kvcalib
