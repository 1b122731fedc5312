// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "sharding/formats/model_config.h"

namespace kvcalib::fixture {

// The shape of Llama-2-7B, with another vocabulary where one is named.
inline ModelConfig model_7b(int64_t vocab = 32000) {
  ModelConfig config;
  config.layers = 32;
  config.hidden = 4096;
  config.heads = config.kv_heads = 32;
  config.head_dim = 128;
  config.intermediate = 11008;
  config.vocab = vocab;
  return config;
}

}  // namespace kvcalib::fixture
