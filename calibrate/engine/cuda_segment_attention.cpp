// SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/_flash_attention_forward.h>

#include <algorithm>
#include <optional>

#include "calibrate/engine/gpu_segment_attention.h"
#include "calibrate/engine/segment_attention.h"

namespace kvcalib {

// The flash kernel aligns the last query with the last key, and gives a sequence the same blocks
// whatever the others are.  One thing depends on the longest sequence: a single query takes another
// path, and a sliding window that no key falls out of is ignored; hence both are overstated.
at::Tensor gpu_segment_attention(const at::Tensor& queries, const at::Tensor& keys,
                                 const at::Tensor& values, const Segments& segments,
                                 int64_t sliding_window) {
  const auto of_paths = [&](const at::Tensor& rows) {
    return segments.key_rows.defined() ? rows.index_select(0, segments.key_rows) : rows;
  };
  std::optional<int64_t> left, right;
  if (sliding_window > 0) {
    left = sliding_window - 1;
    right = 0;
  }
  const at::Tensor attended = std::get<0>(at::_flash_attention_forward(
      queries, of_paths(keys), of_paths(values), segments.row_ends, segments.key_ends,
      std::max<int64_t>(2, segments.most_rows), std::max(sliding_window, segments.most_keys),
      /*dropout_p=*/0.0, /*is_causal=*/sliding_window == 0, /*return_debug_mask=*/false,
      /*scale=*/std::nullopt, left, right));
  return attended.reshape({queries.size(0), queries.size(1) * queries.size(2)});
}

}  // namespace kvcalib
