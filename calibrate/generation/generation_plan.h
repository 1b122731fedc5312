// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <span>
#include <vector>

#include "calibrate/engine/run_layers.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// A text to be continued.
struct GenerationPrompt {
  std::vector<int32_t> ids;  // at least 1
  int64_t most_new = 0;      // tokens, at least 1
};

// Where the weights are while texts are generated.
enum class WeightPlace : uint8_t {
  kEveryDevice,  // all layers on the device of every rank, which has prompts of its own
  kDivided,      // each layer on one device: prompts pass through those of all ranks
  kFiles,        // every step reads them anew
};

// What a generator takes of a rank's memory, of each stream alike.
struct GenerationPlan {
  int64_t rows = 0;    // sequences at once
  int64_t blocks = 0;  // of its cache
  int64_t prefix_tokens =
      0;  // that all prompts begin with and that are computed once: whole blocks
  int64_t prompt_tokens = 0;  // that go through the layers together, of all streams
  int64_t length = 0;         // of the longest prompt with its continuation
  int64_t gemm_rows = 0;      // of a step, that GPUs choose their algorithms for
  uint64_t weight_bytes = 0, cache_bytes = 0, other_bytes = 0;  // caches: of all groups

  uint64_t total() const { return weight_bytes + cache_bytes + other_bytes; }
};

// Keys of prompts' paths for each of their tokens, which GPUs gather.
inline constexpr int64_t kKeysPerToken = 4;

// What of a model's streams are int8, the others being of 16 bits.
struct StreamCounts {
  int64_t int8 = 0, sixteen_bits = 0;

  int64_t all() const { return int8 + sixteen_bits; }
};

// What plans depend on beside the prompts.
struct GenerationRoom {
  StreamCounts streams;
  c10::Device device = c10::kCPU;
  uint64_t stored_layer_bytes = 0;  // of a layer that does not stay
  uint64_t free_bytes = 0;          // of the device
  int64_t ranks = 1;                // each with a device of that room and a group of prompts
};

// Sequences at once that are of use for so many prompts, each in so many streams.
int64_t useful_rows(int64_t prompts, int64_t streams, const c10::Device& device);

// Layers of a rank, of which each has one at least where they are divided.
LayerRange layers_of_rank(const ModelConfig& config, int64_t rank, int64_t ranks);

// Whether the weights fit into that place beside the caches of a few sequences at least.
bool fits(const ModelConfig& config, std::span<const GenerationPrompt> prompts,
          const GenerationRoom& room, WeightPlace place);

// Of a group of prompts, for as many sequences at once as fit and are of use.  Throws Error when
// not even one does.
GenerationPlan plan_generation(const ModelConfig& config, std::span<const GenerationPrompt> prompts,
                               const GenerationRoom& room, WeightPlace place);

// Tokens that all prompts begin with, of each but its last, in whole blocks.
int64_t common_prefix(std::span<const GenerationPrompt> prompts);

}  // namespace kvcalib
