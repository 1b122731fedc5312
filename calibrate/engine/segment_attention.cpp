// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/segment_attention.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numeric>

#include "calibrate/engine/attention.h"
#include "calibrate/engine/gpu_segment_attention.h"
#include "calibrate/engine/tasks.h"
#include "kernels/instruction_set.h"

namespace kvcalib {
namespace {

using Segment = Segments::Segment;

void append(const TokenTree& tree, int64_t earlier, std::vector<Segment>& all) {
  const int64_t first_row = all.empty() ? 0 : all.back().first_row + all.back().rows;
  const auto first_segment = static_cast<int64_t>(all.size());
  int64_t next = 0;
  for (const TokenTree::Node& node : tree.nodes) {
    const int64_t parent = node.parent < 0 ? -1 : first_segment + node.parent;
    TORCH_CHECK(node.count > 0 && node.first == next && parent < std::ssize(all),
                "make_segments: a node of ", node.count, " tokens from ", node.first,
                " on, behind ", next, ", of the parent ", node.parent);
    const int64_t before = parent < 0 ? earlier : all[static_cast<size_t>(parent)].keys;
    all.push_back({first_row + node.first, node.count, parent, before + node.count});
    next += node.count;
  }
  TORCH_CHECK(next == tree.tokens(), "make_segments: nodes of ", next, " of ", tree.tokens(),
              " tokens");
}

// Where the keys of a segment's path lie, from the first on, in as few runs as possible.
std::vector<kernels::cpu::KeyRun> path_of(const Segments& segments, const Segment& segment) {
  std::vector<kernels::cpu::KeyRun> runs{{segments.earlier + segment.first_row, segment.rows}};
  const auto put_before = [&runs](const kernels::cpu::KeyRun& run) {
    kernels::cpu::KeyRun& behind = runs.back();
    if (run.first + run.count == behind.first)
      behind = {run.first, run.count + behind.count};
    else
      runs.push_back(run);
  };
  for (int64_t i = segment.parent; i >= 0;) {
    const Segment& ancestor = segments.all[static_cast<size_t>(i)];
    put_before({segments.earlier + ancestor.first_row, ancestor.rows});
    i = ancestor.parent;
  }
  if (segments.earlier > 0) put_before({0, segments.earlier});
  std::reverse(runs.begin(), runs.end());
  return runs;
}

// What a varlen kernel wants to be told.
void add_key_rows(Segments& segments, const at::Device& device) {
  std::vector<int32_t> row_ends{0}, key_ends{0};
  std::vector<int64_t> key_rows;
  for (const Segment& segment : segments.all) {
    for (const kernels::cpu::KeyRun& run : path_of(segments, segment))
      for (int64_t row = run.first; row < run.first + run.count; ++row) key_rows.push_back(row);
    row_ends.push_back(static_cast<int32_t>(segment.first_row + segment.rows));
    key_ends.push_back(static_cast<int32_t>(key_rows.size()));
  }
  TORCH_CHECK(std::in_range<int32_t>(key_rows.size()), "make_segments: ", key_rows.size(),
              " keys of all paths, expected fewer than 2^31");
  segments.row_ends = at::tensor(row_ends, at::kInt).to(device);
  segments.key_ends = at::tensor(key_ends, at::kInt).to(device);
  if (std::ssize(key_rows) > segments.rows())
    segments.key_rows = at::tensor(key_rows, at::kLong).to(device);
}

at::Tensor positions_of(const std::vector<Segment>& all, int64_t rows) {
  const at::Tensor positions = at::empty({rows}, at::kInt);
  for (const Segment& segment : all) {
    int32_t* const own = positions.data_ptr<int32_t>() + segment.first_row;
    std::iota(own, own + segment.rows, static_cast<int32_t>(segment.keys - segment.rows));
  }
  return positions;
}

// Most work first, so that the threads end together.
std::vector<const Segment*> by_work(const Segments& segments) {
  std::vector<const Segment*> order;
  for (const Segment& segment : segments.all) order.push_back(&segment);
  std::stable_sort(order.begin(), order.end(), [](const Segment* left, const Segment* right) {
    return left->rows * left->keys > right->rows * right->keys;
  });
  return order;
}

at::Tensor cpu_segment_attention(const at::Tensor& queries, const at::Tensor& keys,
                                 const at::Tensor& values, const Segments& segments,
                                 int64_t sliding_window) {
  const int64_t heads = queries.size(1), head_dim = queries.size(2);
  const at::Tensor out = at::empty({queries.size(0), heads * head_dim}, queries.options());
  const std::vector<const Segment*> order = by_work(segments);
  share_tasks(std::ssize(order) * heads, [&](TaskQueue& queue) {
    const at::Tensor scratch = at::empty(
        {kernels::cpu::attention_scratch(segments.most_rows, head_dim)}, queries.options());
    while (const std::optional<int64_t> task = queue.next()) {
      const Segment& segment = *order[static_cast<size_t>(*task / heads)];
      const std::vector<kernels::cpu::KeyRun> path = path_of(segments, segment);
      const int64_t head = *task % heads;
      kernels::cpu::causal_attention(
          {.queries = queries.const_data_ptr<float>() + segment.first_row * queries.stride(0),
           .keys = keys.const_data_ptr<float>(),
           .values = values.const_data_ptr<float>(),
           .query_stride = queries.stride(0),
           .key_stride = keys.stride(0),
           .out = out.data_ptr<float>() + segment.first_row * out.stride(0),
           .windows = 1,
           .query_length = segment.rows,
           .key_length = segment.keys,
           .key_runs = path,
           .heads = heads,
           .kv_heads = keys.size(1),
           .head_dim = head_dim,
           .sliding_window = sliding_window,
           .scratch = scratch.data_ptr<float>()},
          head, head + 1, kernels::cpu::fastest_instruction_set());
    }
  });
  return out;
}

void check_heads(const at::Tensor& tensor, const at::Tensor& queries, int64_t rows) {
  TORCH_CHECK(tensor.dim() == 3 && tensor.size(0) == rows && tensor.size(2) == queries.size(2) &&
                  tensor.stride(2) == 1 && tensor.stride(1) == tensor.size(2),
              "segment_attention: ", rows, " rows of dense heads, not ", tensor.sizes(),
              " with strides ", tensor.strides());
}

}  // namespace

Segments make_segments(std::span<const TokenTree* const> trees, const at::Device& device,
                       int64_t earlier) {
  Segments segments;
  segments.earlier = earlier;
  for (const TokenTree* tree : trees) append(*tree, earlier, segments.all);
  for (const Segment& segment : segments.all) {
    segments.most_rows = std::max(segments.most_rows, segment.rows);
    segments.most_keys = std::max(segments.most_keys, segment.keys);
  }
  const int64_t window = trees.empty() || earlier > 0 ? 0 : window_of(*trees.front());
  if (window > 0 && std::all_of(trees.begin(), trees.end(),
                                [&](const TokenTree* tree) { return window_of(*tree) == window; }))
    segments.window = window;
  segments.positions = positions_of(segments.all, segments.rows()).to(device);
  if (!device.is_cpu()) add_key_rows(segments, device);
  return segments;
}

at::Tensor segment_attention(const at::Tensor& queries, const at::Tensor& keys,
                             const at::Tensor& values, const Segments& segments,
                             int64_t sliding_window) {
  check_heads(queries, queries, segments.rows());
  for (const at::Tensor& tensor : {keys, values})
    check_heads(tensor, queries, segments.earlier + segments.rows());
  TORCH_CHECK(keys.sizes() == values.sizes() && keys.strides() == values.strides(),
              "segment_attention: every key has its value");
  if (queries.is_cpu())
    return cpu_segment_attention(queries, keys, values, segments, sliding_window);
  if (segments.window == 0)
    return gpu_segment_attention(queries, keys, values, segments, sliding_window);
  const auto windows = [&](const at::Tensor& heads) {
    const int64_t row = heads.stride(0), length = segments.window;
    return heads.as_strided({heads.size(0) / length, length, heads.size(1), heads.size(2)},
                            {length * row, row, heads.size(2), 1});
  };
  return causal_attention(windows(queries), windows(keys), windows(values), sliding_window);
}

int64_t segment_attention_bytes(const Segments& segments, int64_t kv_heads, int64_t head_dim,
                                const at::Device& device) {
  if (device.is_cpu()) return attention_scratch_bytes(segments.most_rows, head_dim);
  constexpr int64_t kBytes = 2;
  return segments.key_rows.defined() ? 2 * segments.key_rows.numel() * kv_heads * head_dim * kBytes
                                     : 0;
}

}  // namespace kvcalib
