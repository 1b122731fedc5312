// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "sharding/formats/weight_directory.h"
#include "sharding/streaming/weight_matrix.h"

namespace kvcalib {

// A model's final norm and its head, which make logits of the last layer's output.
class OutputHead {
 public:
  // Logits [rows, vocab] of rows of hidden states from `first_row` on; overwritten afterwards.
  using Take = std::function<void(int64_t first_row, const at::Tensor& logits)>;

  // Reads both; they stay on the device.  Throws Error when they are not finite or cannot be read.
  OutputHead(const WeightDirectory& directory, const at::Device& device);

  // Gives the logits of `hidden` [rows, hidden] to `take`, a block of rows after the other, so that
  // those of all rows are never held.  `hidden` is left as it is.  Throws Error when it is not
  // finite.
  void run(const at::Tensor& hidden, const Take& take) const;

 private:
  const ModelConfig config_;
  at::Tensor norm_;    // [hidden]
  WeightMatrix head_;  // [hidden, vocab]
};

}  // namespace kvcalib
