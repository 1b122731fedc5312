// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/attention.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "calibrate/engine/gpu_attention.h"
#include "calibrate/engine/tasks.h"
#include "kernels/instruction_set.h"

namespace kvcalib {
namespace {

at::Tensor cpu_causal_attention(const at::Tensor& queries, const at::Tensor& keys,
                                const at::Tensor& values, int64_t sliding_window) {
  const int64_t windows = queries.size(0), length = queries.size(1);
  const int64_t heads = queries.size(2), head_dim = queries.size(3);
  const at::Tensor out = at::empty({windows * length, heads * head_dim}, queries.options());
  const kernels::cpu::CausalAttentionArguments all{
      .queries = queries.const_data_ptr<float>(),
      .keys = keys.const_data_ptr<float>(),
      .values = values.const_data_ptr<float>(),
      .query_stride = queries.stride(1),
      .key_stride = keys.stride(1),
      .out = out.data_ptr<float>(),
      .windows = windows,
      .query_length = length,
      .key_length = keys.size(1),
      .heads = heads,
      .kv_heads = keys.size(2),
      .head_dim = head_dim,
      .sliding_window = sliding_window,
  };
  share_tasks(all.tasks(), [&](TaskQueue& queue) {
    const at::Tensor scratch =
        at::empty({kernels::cpu::attention_scratch(length, head_dim)}, queries.options());
    kernels::cpu::CausalAttentionArguments own = all;
    own.scratch = scratch.data_ptr<float>();
    while (const std::optional<int64_t> task = queue.next())
      kernels::cpu::causal_attention(own, *task, *task + 1,
                                     kernels::cpu::fastest_instruction_set());
  });
  return out;
}

// A window's tokens follow one another, a token's heads are dense.
void check_heads(const at::Tensor& tensor, const at::Tensor& queries) {
  TORCH_CHECK(tensor.dim() == 4 && tensor.size(0) == queries.size(0) &&
                  tensor.size(3) == queries.size(3) && tensor.stride(3) == 1 &&
                  tensor.stride(2) == tensor.size(3) &&
                  (tensor.size(0) < 2 || tensor.stride(0) == tensor.size(1) * tensor.stride(1)),
              "causal_attention: windows of dense heads, not ", tensor.sizes(), " with strides ",
              tensor.strides());
}

}  // namespace

at::Tensor causal_attention(const at::Tensor& queries, const at::Tensor& keys,
                            const at::Tensor& values, int64_t sliding_window) {
  for (const at::Tensor& tensor : {queries, keys, values}) check_heads(tensor, queries);
  TORCH_CHECK(queries.size(1) <= keys.size(1) && keys.sizes() == values.sizes() &&
                  keys.strides() == values.strides(),
              "causal_attention: every query has its key, and every key its value");
  return (queries.is_cpu() ? cpu_causal_attention : gpu_causal_attention)(queries, keys, values,
                                                                          sliding_window);
}

int64_t attention_scratch_bytes(int64_t query_length, int64_t head_dim) {
  return at::get_num_threads() * kernels::cpu::attention_scratch(query_length, head_dim) *
         static_cast<int64_t>(sizeof(float));
}

}  // namespace kvcalib
