// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/observations.h"

#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <array>
#include <limits>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// What was not finite, by the flags of a layer; null for nothing.
const char* first_fault(const int* found) {
  if (found[0] != 0) return "the hidden states before attention_norm";
  if ((found[2] & 1) != 0) return "K (after bias and RoPE)";
  if ((found[2] & 2) != 0) return "V (after bias)";
  if (found[1] != 0) return "the hidden states before ffn_norm";
  return nullptr;
}

}  // namespace

Observations::Observations(const ModelConfig& config, const at::Device& device, bool observe)
    : config_(config),
      faults_(at::zeros({config.layers, 3}, at::device(device).dtype(at::kInt))),
      host_faults_(device.is_cpu()
                       ? faults_
                       : at::empty({config.layers, 3}, at::dtype(at::kInt).pinned_memory(true))),
      closed_(static_cast<size_t>(config.layers)) {
  if (observe)
    ranges_ = at::empty({config.layers, 4, config.kv_heads, config.head_dim}, at::device(device));
  reset();
}

at::Tensor Observations::maxima() const { return ranges_.slice(1, 1, 4, 2); }

LayerObservation Observations::of(int64_t layer) const {
  return {ranges_.defined() ? ranges_[layer] : at::Tensor(), faults_[layer]};
}

void Observations::reset() {
  faults_.zero_();
  if (!ranges_.defined()) return;
  ranges_.fill_(kInfinity);
  maxima().fill_(-kInfinity);
}

void Observations::close(int64_t layer) {
  if (faults_.is_cpu()) return;
  host_faults_[layer].copy_(faults_[layer], /*non_blocking=*/true);
  closed_[static_cast<size_t>(layer)].record();
}

void Observations::wait_for(int64_t layer) {
  if (!faults_.is_cpu()) closed_[static_cast<size_t>(layer)].synchronize();
  const char* const what = first_fault(host_faults_.const_data_ptr<int>() + 3 * layer);
  if (what == nullptr) return;
  throw Error(concat("layer ", layer, ": NaN or Inf in ", what, "; the model overflows its 16-bit ",
                     "type on this data, or its weights are damaged"));
}

KvStatistics Observations::merged(Communicator& communicator) const {
  TORCH_CHECK(ranges_.defined(), "nothing was observed");
  maxima().neg_();
  communicator.all_reduce_minimum(ranges_);
  maxima().neg_();
  KvStatistics statistics(config_.layers, config_.kv_heads, config_.head_dim);
  const auto count = static_cast<size_t>(config_.kv_heads * config_.head_dim);
  const std::array<std::vector<float>*, 4> parts = {
      &statistics.keys.minimum, &statistics.keys.maximum, &statistics.values.minimum,
      &statistics.values.maximum};
  const at::Tensor host = ranges_.cpu().contiguous();
  const float* source = host.const_data_ptr<float>();
  for (size_t layer = 0; layer < static_cast<size_t>(config_.layers); ++layer) {
    for (std::vector<float>* part : parts) {
      for (size_t i = 0; i < count; ++i)
        (*part)[layer * count + i] = *source++ + 0.0F;  // -0 and 0 are one value
    }
  }
  return statistics;
}

}  // namespace kvcalib
