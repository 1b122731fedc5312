// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/rotation.h"

namespace kvcalib {
namespace {

// The alpha that dynamic NTK makes its base with; 1: rope_theta as it is.
double ntk_alpha(const TurboMindRelease& release, const ModelConfig& config, int64_t length) {
  const auto limit = static_cast<double>(length);
  const auto trained = static_cast<double>(config.max_position_embeddings);
  const double factor = config.rope_scaling_factor;
  if (release.reads_use_dynamic_ntk && !config.use_dynamic_ntk) return 1.0;
  switch (release.dynamic_ntk) {
    case DynamicNtk::kUnknown:
      return 1.0;
    case DynamicNtk::kStepwise:
      return trained > 0 ? stepwise_alpha(limit, trained) : 1.0;
    case DynamicNtk::kByRequest:
      if (factor < 1.0) return 1.0;
      if (trained > 0 && limit > trained) return request_alpha(factor, limit, trained);
      return release.stretches_short_prompts ? factor : 1.0;
  }
  return 1.0;
}

double divisor_on(const TurboMindRelease& release, const ModelConfig& config) {
  const bool linear =
      release.scales_linearly && !config.use_dynamic_ntk && config.rope_scaling_factor > 0.0;
  return linear ? config.rope_scaling_factor : 1.0;
}

}  // namespace

Rotation rotation_on(const TurboMindRelease& release, const ModelConfig& config, int64_t length) {
  if (config.own_rotation) return own_rotation(config, length);
  const double alpha = ntk_alpha(release, config, length);
  const double base = ntk_base(config.rope_theta, alpha, config.head_dim);
  Rotation rotation{frequencies_of(base, config.head_dim), divisor_on(release, config), {}};
  if (config.use_logn_attention && release.reads_use_logn_attn)
    rotation.query_scale = logn_query_scale(length, config.max_position_embeddings);
  return rotation;
}

}  // namespace kvcalib
