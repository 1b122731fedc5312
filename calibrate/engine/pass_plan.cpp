// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/pass_plan.h"

#include <algorithm>
#include <initializer_list>
#include <limits>

#include "calibrate/engine/attention.h"
#include "calibrate/engine/linear.h"
#include "sharding/formats/layer_plan.h"

namespace kvcalib {
namespace {

constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();

uint64_t sum(std::initializer_list<uint64_t> terms) {
  uint64_t value = 0;
  for (const uint64_t term : terms)
    if (__builtin_add_overflow(value, term, &value)) return kMost;
  return value;
}

uint64_t product(std::initializer_list<int64_t> factors) {
  uint64_t value = 1;
  for (const int64_t factor : factors)
    if (__builtin_mul_overflow(value, static_cast<uint64_t>(factor), &value)) return kMost;
  return value;
}

}  // namespace

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

uint64_t stored_layer_bytes(const WeightDirectory& directory) {
  uint64_t most = 0;
  for (int64_t layer = 0; layer < directory.config().layers; ++layer) {
    uint64_t bytes = 0;
    for (const FileRange& range : directory.layer_plan(layer).ranges) bytes += range.bytes;
    most = std::max(most, bytes);
  }
  return most;
}

uint64_t stored_layer_bytes(const ModelConfig& config) {
  uint64_t elements = 0;
  for (int64_t i = 0; i < kLayerTensors; ++i) {
    const auto tensor = static_cast<LayerTensor>(i);
    if (!has_tensor(config, tensor)) continue;
    const auto [rows, columns] = tensor_shape(config, tensor);
    elements += static_cast<uint64_t>(rows * columns);
  }
  return 2 * elements;
}

uint64_t MemoryPlan::total() const {
  return sum({layers, activations, micro_batch, head, histograms});
}

MemoryPlan plan_memory(const ModelConfig& config, uint64_t stored_layer_bytes, int64_t samples,
                       int64_t length, int64_t ranks, const PassSettings& settings) {
  const int64_t element = settings.device.is_cpu() ? 4 : 2;
  const int64_t per_batch = windows_per_micro_batch(settings, length);
  int64_t most_windows = 0;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const auto [first, last] = windows_of_rank(samples, per_batch, rank, ranks);
    most_windows = std::max(most_windows, last - first);
  }
  const int64_t attended = config.heads * config.head_dim;
  const int64_t width = 2 * config.hidden + attended +
                        (config.heads + 2 * config.kv_heads) * config.head_dim +
                        3 * config.intermediate;
  const int64_t scratch =
      settings.device.is_cpu()
          ? std::max(linear_scratch_bytes(std::max({config.hidden, attended, config.intermediate})),
                     attention_scratch_bytes(length, config.head_dim))
          : 0;
  // On a GPU the layer in use is in 16 bits, on the CPU both are as they are stored.
  const uint64_t in_use =
      settings.device.is_cpu() ? stored_layer_bytes : kvcalib::stored_layer_bytes(config);
  return {sum({stored_layer_bytes, in_use}),
          product({most_windows, length, config.hidden, element}),
          sum({product({std::min(per_batch, samples), length, width, element}),
               static_cast<uint64_t>(scratch)})};
}

// One rank fills one table of ids, which grows by doubling.  Of several each holds its table, the
// message that it came in, and what two connections to the place where they meet keep of it; there
// it lies once more.
HostMemoryPlan plan_host_memory(const MemoryPlan& device_plan, const c10::Device& device,
                                int64_t samples, int64_t length, int64_t ranks) {
  const int64_t copies = ranks == 1 ? 2 : 4 * ranks + 1;
  return {device.is_cpu() ? device_plan : MemoryPlan{}, ranks,
          product({samples, length, static_cast<int64_t>(sizeof(int32_t)), copies})};
}

uint64_t HostMemoryPlan::total() const {
  uint64_t of_ranks = 0;
  if (__builtin_mul_overflow(rank.total(), static_cast<uint64_t>(ranks), &of_ranks)) return kMost;
  return sum({of_ranks, ids});
}

}  // namespace kvcalib
