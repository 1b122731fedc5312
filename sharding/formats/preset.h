// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "sharding/formats/model_config.h"

namespace kvcalib {

// The shape in a preset of configs/ (JSON: name, layers, hidden, heads, kv_heads, head_dim,
// intermediate, vocab, norm_eps, rope_theta, weight_type, attention_bias, max_position_embeddings,
// tensor_para_size; where the model has them query_key_norm, sliding_window), for planning without
// weights.  Throws Error naming file and key.
ModelConfig read_preset(const std::filesystem::path& file);

}  // namespace kvcalib
