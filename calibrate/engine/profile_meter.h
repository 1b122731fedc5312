// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "calibrate/engine/cache_quantizer.h"
#include "calibrate/engine/group_scores.h"
#include "calibrate/engine/segment_attention.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// A sampled tree: where it stands among a rank's rows.
struct SampledTree {
  int64_t tree = 0;       // its number in the whole run
  int64_t first_row = 0;  // of the rank's rows
  Segments segments;      // of this tree alone
};

// What formats do to single layers, seen on some trees: in the first stream the error of the
// attention output when only this layer's K, only its V, or both go through a format, which no
// other layer adds to; and how far a stream's hidden states are from the first one's behind every
// layer.
class ProfileMeter {
 public:
  // `quantizers` by stream, null for those that are not looked at; they outlive the meter.
  ProfileMeter(const ModelConfig& config, std::vector<SampledTree> trees,
               std::vector<const CacheQuantizer*> quantizers, const at::Device& device);

  // Of the first stream's rows [first_row, first_row + queries.size(0)) in a layer: queries [rows,
  // heads, head_dim], keys and values [rows, kv_heads, head_dim], which are left as they are.
  void see_attention(int64_t layer, int64_t first_row, const at::Tensor& queries,
                     const at::Tensor& keys, const at::Tensor& values);
  // The layer's output for these rows, [rows, hidden]: the first stream's and that of `stream`.
  void see_hidden(int64_t layer, int64_t first_row, size_t stream, const at::Tensor& exact,
                  const at::Tensor& hidden);

  // Of every tree, when all layers are through.
  std::vector<TreeErrors> errors() const;

 private:
  // Calls with the index of every sampled tree that lies whole in the rows, and its first of them.
  template <typename See>
  void each_tree(int64_t first_row, int64_t rows, const See& see) const;
  at::Tensor place(size_t tree, size_t stream, int64_t layer) const;

  const ModelConfig config_;
  const std::vector<SampledTree> trees_;
  const std::vector<const CacheQuantizer*> quantizers_;
  const at::Tensor errors_;  // float64 [trees, streams, layers, width]
};

}  // namespace kvcalib
