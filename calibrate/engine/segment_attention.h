// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "calibrate/engine/token_tree.h"

namespace kvcalib {

// The rows of a micro-batch as nodes of trees: a segment attends to its ancestors, from the root
// on, and causally to itself.
struct Segments {
  struct Segment {
    int64_t first_row = 0, rows = 0;
    int64_t parent = -1;  // an earlier segment; -1: none, a root
    int64_t keys = 0;     // of its path: the earlier ones, and its rows up to its own
  };

  std::vector<Segment> all;  // one behind the other, from row 0 on
  // Keys that all roots attend to: they stand before those of the rows.
  int64_t earlier = 0;
  at::Tensor positions;  // int32 [rows]: of every row in its path
  // Rows of each where the trees are windows of one length; else 0.
  int64_t window = 0;

  // Of the varlen kernel on GPUs, undefined elsewhere: int32 [segments + 1] each, the ends of the
  // segments' rows and keys, and int64 [keys], the place of every key of every segment.  The places
  // are undefined where every segment is a root and nothing is earlier: keys lie as they are asked
  // for.
  at::Tensor row_ends, key_ends, key_rows;
  int64_t most_rows = 0, most_keys = 0;  // of a segment

  int64_t rows() const { return all.empty() ? 0 : all.back().first_row + all.back().rows; }
};

// The segments of whole trees, one tree's tokens behind the other's, all of them behind `earlier`
// tokens.  A node that is no root needs an earlier parent.
Segments make_segments(std::span<const TokenTree* const> trees, const at::Device& device,
                       int64_t earlier = 0);

// Causal attention of segments.  queries [rows, heads, head_dim], keys and values [earlier + rows,
// kv_heads, head_dim], of rows with dense heads; returns [rows, heads head_dim].  A query sees
// `sliding_window` keys of its path, its own the last of them; 0: all up to its own.  A row's bits
// do not depend on the segments that are not on its path; on the CPU neither on how its path is cut
// into segments.  On GPUs windows go through another kernel than trees, so that a row's bits
// depend on Segments::window.
at::Tensor segment_attention(const at::Tensor& queries, const at::Tensor& keys,
                             const at::Tensor& values, const Segments& segments,
                             int64_t sliding_window = 0);

// Bytes that segment_attention holds beside its arguments and result: on the CPU what
// attention_scratch_bytes says of the longest segment, on GPUs the keys and values of all paths.
int64_t segment_attention_bytes(const Segments& segments, int64_t kv_heads, int64_t head_dim,
                                const at::Device& device);

}  // namespace kvcalib
