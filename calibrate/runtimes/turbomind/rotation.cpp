// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/rotation.h"

namespace kvcalib {
namespace {

double base_on(const RuntimeRelease& release, const ModelConfig& config, int64_t length) {
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

double divisor_on(const RuntimeRelease& release, const ModelConfig& config) {
  const bool linear = release >= RuntimeRelease(0, 3, 0) && !config.use_dynamic_ntk &&
                      config.rope_scaling_factor > 0.0;
  return linear ? config.rope_scaling_factor : 1.0;
}

}  // namespace

Rotation rotation_on(const RuntimeRelease& release, const ModelConfig& config, int64_t length) {
  if (config.own_rotation) return own_rotation(config, length);
  Rotation rotation{frequencies_of(base_on(release, config, length), config.head_dim),
                    divisor_on(release, config),
                    {}};
  if (config.use_logn_attention && release >= RuntimeRelease(0, 0, 6))
    rotation.query_scale = logn_query_scale(length, config.max_position_embeddings);
  return rotation;
}

}  // namespace kvcalib
