// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/pass_plan.h"

#include <algorithm>

#include "calibrate/engine/attention.h"
#include "calibrate/engine/linear.h"
#include "sharding/formats/layer_plan.h"

namespace kvcalib {

int64_t default_micro_batch(const c10::Device& device) { return device.is_cpu() ? 2048 : 16384; }

int64_t windows_per_micro_batch(const PassSettings& settings, int64_t length) {
  const int64_t tokens = settings.micro_batch_tokens > 0 ? settings.micro_batch_tokens
                                                         : default_micro_batch(settings.device);
  return std::max<int64_t>(1, tokens / length);
}

std::pair<int64_t, int64_t> windows_of_rank(int64_t samples, int64_t windows_per_batch,
                                            int64_t rank, int64_t ranks) {
  const int64_t batches = (samples + windows_per_batch - 1) / windows_per_batch;
  const auto first_window = [&](int64_t of_rank) {
    return std::min(samples, batches * of_rank / ranks * windows_per_batch);
  };
  return {first_window(rank), first_window(rank + 1)};
}

MemoryPlan plan_memory(const ModelConfig& config, int64_t samples, int64_t length, int64_t ranks,
                       const PassSettings& settings) {
  const uint64_t element = settings.device.is_cpu() ? 4 : 2;
  const int64_t per_batch = windows_per_micro_batch(settings, length);
  int64_t most_windows = 0;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const auto [first, last] = windows_of_rank(samples, per_batch, rank, ranks);
    most_windows = std::max(most_windows, last - first);
  }
  uint64_t layer_elements = 0;
  for (int64_t i = 0; i < kLayerTensors; ++i) {
    const auto tensor = static_cast<LayerTensor>(i);
    if (!has_tensor(config, tensor)) continue;
    const auto [rows, columns] = tensor_shape(config, tensor);
    layer_elements += static_cast<uint64_t>(rows * columns);
  }
  const int64_t attended = config.heads * config.head_dim;
  const int64_t width = 2 * config.hidden + attended +
                        (config.heads + 2 * config.kv_heads) * config.head_dim +
                        3 * config.intermediate;
  const auto batch_tokens = static_cast<uint64_t>(std::min(per_batch, samples) * length);
  const int64_t scratch =
      settings.device.is_cpu()
          ? linear_scratch_bytes(std::max({config.hidden, attended, config.intermediate})) +
                attention_mask_bytes(length, config.sliding_window)
          : 0;
  return {layer_elements * 4,  // 16 bits, twice
          static_cast<uint64_t>(most_windows * length * config.hidden) * element,
          batch_tokens * static_cast<uint64_t>(width) * element + static_cast<uint64_t>(scratch)};
}

}  // namespace kvcalib
