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
#include "sharding/streaming/layer_stream.h"

namespace kvcalib {
namespace {

constexpr const char* kTrack = "operations";

constexpr int64_t kLogitBytes = int64_t{1} << 28;  // of a block of rows, of all streams
constexpr int64_t kMostRows = 4096;                // of a block: more make nothing faster
constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));

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

OutputHead::OutputHead(const WeightDirectory& directory, const at::Device& device, Trace* trace)
    : config_(directory.config()),
      trace_(trace),
      norm_(
          at::empty({1, config_.hidden}, at::device(device).dtype(compute_type(config_, device)))),
      head_(read_head(directory, device)) {
  constexpr int32_t kFirst = 0;
  read_rows(directory.final_norm(), config_, {&kFirst, 1}, norm_);
  norm_ = norm_.view({config_.hidden});
}

void OutputHead::keep_packed() {
  if (norm_.is_cpu()) head_ = packed(head_);
}

at::Tensor OutputHead::logits_of(std::span<const at::Tensor> hidden, const at::Tensor& rows,
                                 int64_t first, int64_t count, const at::Tensor& normed,
                                 const at::Tensor& logits, const at::Tensor& nonfinite) const {
  const int64_t all = std::ssize(hidden) * count;
  const at::Tensor in = normed.narrow(0, 0, all), out = logits.narrow(0, 0, all);
  int64_t place = 0;
  for (const at::Tensor& stream : hidden) {
    const at::Tensor block = rows.defined() ? stream.index_select(0, rows.narrow(0, first, count))
                                            : stream.narrow(0, first, count);
    rms_norm(block, {}, {}, norm_, in.narrow(0, place, count), config_.norm_eps,
             nonfinite.narrow(0, place / count, 1));
    place += count;
  }
  linear(in, head_, out);
  return out.view({std::ssize(hidden), count, config_.vocab});
}

std::optional<size_t> OutputHead::run(std::span<const at::Tensor> hidden, const at::Tensor& rows,
                                      const Take& take) const {
  if (hidden.empty()) return std::nullopt;
  const int64_t streams = std::ssize(hidden);
  const int64_t asked = rows.defined() ? rows.size(0) : hidden.front().size(0);
  const int64_t most = std::min(output_head_rows(config_, streams), asked);
  const at::TensorOptions options = hidden.front().options();
  const at::Tensor normed = at::empty({streams * most, config_.hidden}, options);
  const at::Tensor logits = at::empty({streams * most, config_.vocab}, options.dtype(at::kFloat));
  const at::Tensor nonfinite = at::zeros({streams}, options.dtype(at::kInt));
  for (int64_t first = 0; first < asked; first += most) {
    const int64_t count = std::min(most, asked - first);
    std::vector<at::Tensor> found;
    {
      const DeviceSpan span(trace_, kTrack, "final norm and head");
      found = logits_of(hidden, rows, first, count, normed, logits, nonfinite).unbind();
    }
    const DeviceSpan span(trace_, kTrack, "scores of rows");
    take(first, found);
  }
  const at::Tensor found = nonfinite.cpu();
  for (int64_t stream = 0; stream < streams; ++stream)
    if (found.const_data_ptr<int32_t>()[stream] != 0) return stream;
  return std::nullopt;
}

int64_t output_head_rows(const ModelConfig& config, int64_t streams) {
  const int64_t row = streams * config.vocab * kFloatBytes;
  return std::clamp<int64_t>(kLogitBytes / row, 1, kMostRows);
}

int64_t output_head_bytes(const ModelConfig& config, bool device_is_cpu, int64_t streams) {
  const int64_t element = device_is_cpu ? kFloatBytes : 2;
  const int64_t head = 2 * config.vocab * config.hidden;
  // Rows that were picked of one stream beside the normed ones of all.
  const int64_t picked = (streams + 1) * config.hidden * element;
  const int64_t running =
      output_head_rows(config, streams) * (streams * config.vocab * kFloatBytes + picked);
  const int64_t norm = config.hidden * element;
  if (device_is_cpu) return head + norm + running + linear_scratch_bytes(config.hidden);
  return head + norm + std::max(head, running);  // on a GPU it is transposed once
}

}  // namespace kvcalib
