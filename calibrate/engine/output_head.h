// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "sharding/formats/weight_directory.h"
#include "sharding/streaming/trace.h"
#include "sharding/streaming/weight_matrix.h"

namespace kvcalib {

// Rows whose logits are held together: those of all streams take at most 256 MB, one row is taken
// whatever it takes.
int64_t output_head_rows(const ModelConfig& config, int64_t streams);

// A model's final norm and its head, which make logits of the last layer's output.
class OutputHead {
 public:
  // Logits of the rows [first_row, first_row + block) that were asked for, float32 [block, vocab]
  // of each stream; overwritten afterwards.
  using Take = std::function<void(int64_t first_row, const std::vector<at::Tensor>& logits)>;

  // Reads both; they stay on the device.  Throws Error when they are not finite or cannot be read.
  OutputHead(const WeightDirectory& directory, const at::Device& device, Trace* trace = nullptr);

  // On a CPU: takes the memory that makes calls with few rows faster.
  void keep_packed();

  // Gives the logits of rows of `hidden`, [any, hidden] of each stream, to `take`: those that
  // `rows` names, int64 on the device, or all where it is undefined.  A block of rows of all
  // streams comes after the other, each of rows_at_once or what is left.  `hidden` is left as it
  // is; a row's logits do not depend on the rows and streams beside it.  Returns the first stream
  // of which a row that was asked for is not finite, if there is one: its logits say nothing.
  [[nodiscard]] std::optional<size_t> run(std::span<const at::Tensor> hidden,
                                          const at::Tensor& rows, const Take& take) const;

  // Of every block that run gives but the last.
  int64_t rows_at_once(int64_t streams) const { return output_head_rows(config_, streams); }

 private:
  // Rows [first, first + count) of what was asked for.
  at::Tensor logits_of(std::span<const at::Tensor> hidden, const at::Tensor& rows, int64_t first,
                       int64_t count, const at::Tensor& normed, const at::Tensor& logits,
                       const at::Tensor& nonfinite) const;  // int32 [streams]

  const ModelConfig config_;
  Trace* const trace_;
  at::Tensor norm_;    // [hidden]
  WeightMatrix head_;  // [hidden, vocab]
};

// Bytes that an OutputHead takes of its device's memory at most, with what it holds while it runs.
int64_t output_head_bytes(const ModelConfig& config, bool device_is_cpu, int64_t streams);

}  // namespace kvcalib
