// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/output_head.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "calibrate/engine/compute_type.h"
#include "calibrate/engine/embedding.h"
#include "calibrate/engine/linear.h"
#include "calibrate/engine/operations.h"
#include "sharding/files/error.h"
#include "sharding/streaming/layer_stream.h"

namespace kvcalib {
namespace {

constexpr int64_t kRowsAtOnce = 512;

// As `linear` takes it: on a GPU [hidden, vocab] in memory, on the CPU however it lies.
WeightMatrix read_head(const WeightDirectory& directory, const at::Device& device) {
  const ModelConfig& config = directory.config();
  std::vector<int32_t> all(static_cast<size_t>(config.vocab));
  std::iota(all.begin(), all.end(), 0);
  const at::Tensor rows =
      at::empty({config.vocab, config.hidden},
                at::device(device).dtype(scalar_type(element_type(config.weight_type))));
  read_rows(directory.head(), config, all, rows);
  return WeightMatrix(device.is_cpu() ? rows.t() : rows.t().contiguous());
}

}  // namespace

OutputHead::OutputHead(const WeightDirectory& directory, const at::Device& device)
    : config_(directory.config()),
      norm_(
          at::empty({1, config_.hidden}, at::device(device).dtype(compute_type(config_, device)))),
      head_(read_head(directory, device)) {
  constexpr int32_t kFirst = 0;
  read_rows(directory.final_norm(), config_, {&kFirst, 1}, norm_);
  norm_ = norm_.view({config_.hidden});
}

void OutputHead::run(const at::Tensor& hidden, const Take& take) const {
  const int64_t rows = hidden.size(0), most = std::min(kRowsAtOnce, rows);
  const at::Tensor normed = at::empty({most, config_.hidden}, hidden.options());
  const at::Tensor logits = at::empty({most, config_.vocab}, hidden.options());
  const at::Tensor nonfinite = at::zeros({1}, hidden.options().dtype(at::kInt));
  for (int64_t first = 0; first < rows; first += most) {
    const int64_t count = std::min(most, rows - first);
    const at::Tensor in = normed.narrow(0, 0, count), out = logits.narrow(0, 0, count);
    rms_norm(hidden.narrow(0, first, count), {}, {}, norm_, in, config_.norm_eps, nonfinite);
    linear(in, head_, out);
    take(first, out);
  }
  if (nonfinite.item<int>() != 0)
    throw Error(
        concat("NaN or Inf in the hidden states before the final norm; the model overflows ",
               "its 16-bit type on this data, or its weights are damaged"));
}

}  // namespace kvcalib
