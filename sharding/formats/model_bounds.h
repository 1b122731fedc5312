// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "sharding/formats/model_config.h"

namespace kvcalib {

// What no model's numbers go beyond, whichever file states them. Within these bounds, and those of
// check_model, every product of a model's sizes that is formed anywhere fits 64 bits.
inline constexpr int64_t kMostLayers = int64_t{1} << 16;
inline constexpr int64_t kMostHeads = int64_t{1} << 16;
inline constexpr int64_t kLargestHeadDim = 256;
inline constexpr int64_t kLargestSize = int64_t{1} << 30;  // width, rows of a table, positions
inline constexpr int64_t kMostStoredRanks = 1024;
inline constexpr int64_t kMostElements = int64_t{1} << 50;  // of all matrices together

// What a file calls a model's numbers.
struct ModelKeys {
  const char* layers = "layers";
  const char* hidden = "hidden";
  const char* heads = "heads";
  const char* kv_heads = "kv_heads";
  const char* head_dim = "head_dim";
  const char* intermediate = "intermediate";
  const char* vocab = "vocab";
  const char* stored_ranks = "stored_ranks";
  const char* sliding_window = "sliding_window";
  const char* norm_eps = "norm_eps";
  const char* rope_theta = "rope_theta";
  const char* rope_scaling_factor = "rope_scaling_factor";
  const char* max_position_embeddings = "max_position_embeddings";
  const char* session_length = "session_length";
};

// Throws Error beginning with `origin` and naming the key whose number no model has: beyond the
// bounds above, an odd head size, heads that kv heads do not divide, ranks that do not divide both
// and the intermediate size, an epsilon outside (0, 1], a base of the rotation that is not positive
// and finite, a scaling that its kind does not have; and the sizes whose product goes beyond. A
// reader calls it before it multiplies any of them.
void check_model(const ModelConfig& model, const ModelKeys& keys, const std::string& origin);

}  // namespace kvcalib
