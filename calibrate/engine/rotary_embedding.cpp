// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/rotary_embedding.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace kvcalib {
namespace {

double ntk_base(double theta, double alpha, int64_t head_dim) {
  const auto dimensions = static_cast<double>(head_dim);
  return theta * std::pow(alpha, dimensions / (dimensions - 2.0));
}

// v0.0.6 to v0.0.14, and Qwen's own code: by the context length, in powers of two.
double stepwise_alpha(double length, double trained) {
  if (length < trained) return 1.0;
  return std::max(std::exp2(std::ceil(std::log2(length / trained) + 1.0)) - 1.0, 1.0);
}

// v0.1.0 to v0.3.0: by the request's limit.
double request_alpha(double factor, double length, double trained) {
  return factor * length / trained - (factor - 1.0);
}

// Logn attention: queries beyond the trained length.
bool scales_queries(const ModelConfig& config, const RuntimeRelease& release, int64_t length) {
  const int64_t trained = config.max_position_embeddings;
  const bool is_known = config.own_rotation || release >= RuntimeRelease(0, 0, 6);
  return config.use_logn_attention && is_known && trained > 1 && length > trained;
}

// The base of a model that rotates by its own rules.
double own_base(const ModelConfig& config, int64_t length) {
  const RopeScaling& scaling = *config.own_rotation;
  const auto limit = static_cast<double>(length);
  const auto trained = static_cast<double>(scaling.original_positions);
  if (scaling.kind == RopeScaling::Kind::kDynamic && limit > trained)
    return ntk_base(config.rope_theta, request_alpha(scaling.factor, limit, trained),
                    config.head_dim);
  if (scaling.kind == RopeScaling::Kind::kQwen)
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

double rotary_base(const ModelConfig& config, const RuntimeRelease& release, int64_t length) {
  if (config.own_rotation) return own_base(config, length);
  const auto limit = static_cast<double>(length);
  const auto trained = static_cast<double>(config.max_position_embeddings);
  const double factor = config.rope_scaling_factor;
  const bool longer = trained > 0 && limit > trained;
  if (release < RuntimeRelease(0, 0, 6)) return config.rope_theta;
  if (release < RuntimeRelease(0, 1, 0)) {
    if (!config.use_dynamic_ntk || trained <= 0) return config.rope_theta;
    return ntk_base(config.rope_theta, stepwise_alpha(limit, trained), config.head_dim);
  }
  if (release < RuntimeRelease(0, 3, 0)) {
    if (factor < 1.0) return config.rope_theta;
    if (longer)
      return ntk_base(config.rope_theta, request_alpha(factor, limit, trained), config.head_dim);
    const bool scales_short = release == RuntimeRelease(0, 1, 0);
    return scales_short ? ntk_base(config.rope_theta, factor, config.head_dim) : config.rope_theta;
  }
  if (!config.use_dynamic_ntk || factor < 1.0 || !longer) return config.rope_theta;
  return ntk_base(config.rope_theta, request_alpha(factor, limit, trained), config.head_dim);
}

double position_divisor(const ModelConfig& config, const RuntimeRelease& release) {
  if (config.own_rotation)
    return config.own_rotation->kind == RopeScaling::Kind::kLinear ? config.own_rotation->factor
                                                                   : 1.0;
  const bool linear = release >= RuntimeRelease(0, 3, 0) && !config.use_dynamic_ntk &&
                      config.rope_scaling_factor > 0.0;
  return linear ? config.rope_scaling_factor : 1.0;
}

std::vector<double> rotary_frequencies(const ModelConfig& config, const RuntimeRelease& release,
                                       int64_t length) {
  const double base = rotary_base(config, release, length);
  std::vector<double> frequencies;
  for (int64_t pair = 0; pair < config.head_dim / 2; ++pair) {
    const double exponent = -2.0 * static_cast<double>(pair) / static_cast<double>(config.head_dim);
    const double frequency = std::pow(base, exponent);
    const bool llama3 =
        config.own_rotation && config.own_rotation->kind == RopeScaling::Kind::kLlama3;
    frequencies.push_back(llama3 ? llama3_frequency(*config.own_rotation, frequency) : frequency);
  }
  return frequencies;
}

bool rotate_alike(const ModelConfig& one, const RuntimeRelease& release_of_one,
                  const ModelConfig& other, const RuntimeRelease& release_of_other,
                  int64_t length) {
  return rotary_frequencies(one, release_of_one, length) ==
             rotary_frequencies(other, release_of_other, length) &&
         position_divisor(one, release_of_one) == position_divisor(other, release_of_other) &&
         scales_queries(one, release_of_one, length) ==
             scales_queries(other, release_of_other, length);
}

RotaryTable make_rotary_table(const ModelConfig& config, const RuntimeRelease& release,
                              int64_t length) {
  const std::vector<double> frequencies = rotary_frequencies(config, release, length);
  const double divisor = position_divisor(config, release);
  RotaryTable table;
  for (int64_t position = 0; position < length; ++position) {
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(position) / divisor * frequency;
      table.cosine.push_back(static_cast<float>(std::cos(angle)));
      table.sine.push_back(static_cast<float>(std::sin(angle)));
    }
  }
  if (scales_queries(config, release, length)) {
    const double denominator = std::log(static_cast<double>(config.max_position_embeddings));
    for (int64_t position = 0; position < length; ++position) {
      const double scale = std::log(static_cast<double>(position + 1)) / denominator;
      table.query_scale.push_back(static_cast<float>(std::max(scale, 1.0)));
    }
  }
  return table;
}

}  // namespace kvcalib
