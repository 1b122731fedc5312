// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "calibrate/engine/segment_attention.h"

namespace kvcalib {

// A tree whose nodes have the given parents and numbers of tokens.
inline TokenTree tree_of(const std::vector<std::pair<int64_t, int64_t>>& nodes) {
  TokenTree tree;
  for (const auto& [parent, count] : nodes) {
    tree.nodes.push_back({parent, tree.tokens(), count});
    tree.ids.resize(tree.ids.size() + static_cast<size_t>(count));
  }
  return tree;
}

// Depth 3, a root with a child that lies behind another's children, and trees of a single node.
inline std::vector<TokenTree> some_trees() {
  return {tree_of({{-1, 37}, {0, 5}, {1, 9}, {1, 2}, {0, 1}, {4, 50}, {0, 3}}), tree_of({{-1, 1}}),
          tree_of({{-1, 600}, {0, 70}, {0, 49}, {2, 4}}), tree_of({{-1, 20}})};
}

inline std::vector<const TokenTree*> pointers(const std::vector<TokenTree>& trees) {
  std::vector<const TokenTree*> all;
  for (const TokenTree& tree : trees) all.push_back(&tree);
  return all;
}

inline Segments segments_of(const std::vector<TokenTree>& trees,
                            const at::Device& device = at::kCPU) {
  return make_segments(pointers(trees), device);
}

// The rows of a segment's path.
inline at::Tensor path_rows(const Segments& segments, int64_t index) {
  std::vector<at::Tensor> parts;
  for (; index >= 0; index = segments.all[static_cast<size_t>(index)].parent) {
    const Segments::Segment& part = segments.all[static_cast<size_t>(index)];
    parts.push_back(at::arange(part.first_row, part.first_row + part.rows, at::kLong));
  }
  std::reverse(parts.begin(), parts.end());
  return at::cat(parts);
}

// q, k and v of rows, side by side with a few columns more.
struct SegmentHeads {
  int64_t heads, kv_heads, head_dim;

  at::Tensor random(int64_t rows, const at::TensorOptions& options) const {
    return at::randn({rows, (heads + 2 * kv_heads) * head_dim + 8}, options);
  }
  at::Tensor part(const at::Tensor& qkv, int64_t first, int64_t count) const {
    return qkv.narrow(1, 0, qkv.size(1) - 8).unflatten(1, {-1, head_dim}).narrow(1, first, count);
  }
  at::Tensor attend(const at::Tensor& qkv, const Segments& segments, int64_t sliding_window) const {
    return segment_attention(part(qkv, 0, heads), part(qkv, heads, kv_heads),
                             part(qkv, heads + kv_heads, kv_heads), segments, sliding_window);
  }

  // Row by row along its path, in double on the CPU.
  at::Tensor attend_in_double(const at::Tensor& given, const Segments& segments,
                              int64_t sliding_window) const {
    const at::Tensor qkv = given.to(at::kCPU).to(at::kDouble);
    const at::Tensor out = at::empty({qkv.size(0), heads * head_dim}, qkv.options());
    for (int64_t i = 0; i < std::ssize(segments.all); ++i) {
      const Segments::Segment& segment = segments.all[static_cast<size_t>(i)];
      const at::Tensor path = path_rows(segments, i);
      for (int64_t row = 0; row < segment.rows; ++row) {
        const int64_t last = path.size(0) - segment.rows + row + 1;
        const int64_t first = sliding_window > 0 ? std::max<int64_t>(0, last - sliding_window) : 0;
        const at::Tensor seen = qkv.index_select(0, path.slice(0, first, last));
        const auto of_keys = [&](int64_t part_first) {  // [heads, keys, head_dim]
          return part(seen, part_first, kv_heads)
              .repeat_interleave(heads / kv_heads, 1)
              .transpose(0, 1);
        };
        const at::Tensor query =
            part(qkv.narrow(0, segment.first_row + row, 1), 0, heads).transpose(0, 1);
        const at::Tensor scores = at::matmul(query, of_keys(heads).transpose(1, 2)) /
                                  std::sqrt(static_cast<double>(head_dim));
        out[segment.first_row + row].copy_(
            at::matmul(scores.softmax(-1), of_keys(heads + kv_heads)).flatten());
      }
    }
    return out;
  }
};

}  // namespace kvcalib
