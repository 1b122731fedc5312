// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/faults.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// What was not finite, by the flags of a layer; null for nothing.
const char* first_fault(const int* found) {
  if (found[0] != 0) return "the hidden states before attention_norm";
  if ((found[2] & 1) != 0) return "K (after bias and RoPE)";
  if ((found[2] & 2) != 0) return "V (after bias)";
  if (found[1] != 0) return "the hidden states before ffn_norm";
  return nullptr;
}

void refuse_fault(int64_t layer, const int* found) {
  const char* const what = first_fault(found);
  if (what == nullptr) return;
  throw Error(concat("layer ", layer, ": NaN or Inf in ", what, "; the model overflows its 16-bit ",
                     "type on this data, or its weights are damaged"));
}

}  // namespace

Faults::Faults(int64_t layers, const at::Device& device)
    : flags_(at::zeros({layers, 3}, at::device(device).dtype(at::kInt))),
      host_flags_(device.is_cpu()
                      ? flags_
                      : at::empty({layers, 3}, at::dtype(at::kInt).pinned_memory(true))),
      closed_(static_cast<size_t>(layers)) {}

LayerFaults Faults::of(int64_t layer) const {
  const at::Tensor flags = flags_[layer];
  return {flags.narrow(0, 0, 1), flags.narrow(0, 1, 1), flags.narrow(0, 2, 1)};
}

void Faults::reset() { flags_.zero_(); }

void Faults::close(int64_t layer) {
  if (flags_.is_cpu()) return;
  host_flags_[layer].copy_(flags_[layer], /*non_blocking=*/true);
  closed_[static_cast<size_t>(layer)].record(flags_.device());
}

void Faults::wait_for(int64_t layer) {
  if (!flags_.is_cpu()) closed_[static_cast<size_t>(layer)].synchronize();
  refuse_fault(layer, host_flags_.const_data_ptr<int>() + 3 * layer);
}

void Faults::check_all() const {
  const at::Tensor flags = flags_.cpu();
  for (int64_t layer = 0; layer < flags.size(0); ++layer)
    refuse_fault(layer, flags.const_data_ptr<int>() + 3 * layer);
}

}  // namespace kvcalib
