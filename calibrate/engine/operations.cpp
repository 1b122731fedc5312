// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/operations.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAContext.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "kernels/head_norm.h"
#include "kernels/rms_norm.h"
#include "kernels/rotary_observe.h"
#include "kernels/swiglu.h"

namespace kvcalib {
namespace {

template <typename T>
T* pointer(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<T*>(tensor.data_ptr()) : nullptr;
}

// Calls `run` with a value of the kernels' type for the tensor's elements.
template <typename Run>
void with_kernel_type(const at::Tensor& tensor, const Run& run) {
  if (tensor.scalar_type() == at::kFloat) return run(float{});
  if (tensor.scalar_type() == at::kHalf) return run(__half{});
  TORCH_CHECK(tensor.scalar_type() == at::kBFloat16, "unexpected type ", tensor.scalar_type());
  run(__nv_bfloat16{});
}

// Splits tokens over the threads; `run` gets a half-open range.
void over_tokens(int64_t tokens, const std::function<void(int64_t, int64_t)>& run) {
  at::parallel_for(0, tokens, 16, run);
}

void raise_flag(const at::Tensor& flags, int raised) {
  if (raised != 0) std::atomic_ref<int>(*pointer<int>(flags)).fetch_or(raised);
}

void check_matrix(const at::Tensor& tensor, int64_t rows, int64_t columns) {
  TORCH_CHECK(tensor.dim() == 2 && tensor.size(0) == rows && tensor.size(1) == columns,
              "expected [", rows, ", ", columns, "], got ", tensor.sizes());
}

}  // namespace

void rms_norm(const at::Tensor& hidden, const at::Tensor& delta, const at::Tensor& delta_bias,
              const at::Tensor& weight, const at::Tensor& out, double epsilon,
              const at::Tensor& nonfinite) {
  check_matrix(out, hidden.size(0), weight.numel());
  check_matrix(hidden, out.size(0), out.size(1));
  TORCH_CHECK(hidden.is_contiguous() && out.is_contiguous(), "rows must be dense");
  with_kernel_type(hidden, [&](auto kind) {
    using T = decltype(kind);
    kernels::RmsNormArguments<T> arguments{
        .hidden = pointer<T>(hidden),
        .delta = pointer<const T>(delta),
        .delta_bias = pointer<const T>(delta_bias),
        .weight = pointer<const T>(weight),
        .out = pointer<T>(out),
        .tokens = hidden.size(0),
        .width = hidden.size(1),
        .epsilon = static_cast<float>(epsilon),
        .nonfinite = pointer<int>(nonfinite),
    };
    if (!hidden.is_cpu()) return kernels::rms_norm(arguments, at::cuda::getCurrentCUDAStream());
    over_tokens(arguments.tokens, [&](int64_t begin, int64_t end) {
      int raised = 0;
      kernels::RmsNormArguments<T> mine = arguments;
      mine.nonfinite = &raised;
      kernels::cpu::rms_norm(mine, begin, end);
      raise_flag(nonfinite, raised);
    });
  });
}

void head_norm(const at::Tensor& qkv, const at::Tensor& query_weight, const at::Tensor& key_weight,
               const QkvShape& shape, double epsilon) {
  check_matrix(qkv, qkv.size(0), (shape.heads + 2 * shape.kv_heads) * shape.head_dim);
  TORCH_CHECK(key_weight.numel() == shape.head_dim &&
                  (shape.heads == 0 || query_weight.numel() == shape.head_dim),
              "norms of q and k must be [head_dim]");
  with_kernel_type(qkv, [&](auto kind) {
    using T = decltype(kind);
    const kernels::HeadNormArguments<T> arguments{
        .qkv = pointer<T>(qkv),
        .query_weight = shape.heads == 0 ? nullptr : pointer<const T>(query_weight),
        .key_weight = pointer<const T>(key_weight),
        .tokens = qkv.size(0),
        .row_stride = qkv.stride(0),
        .heads = shape.heads,
        .kv_heads = shape.kv_heads,
        .head_dim = shape.head_dim,
        .epsilon = static_cast<float>(epsilon),
    };
    if (!qkv.is_cpu()) return kernels::head_norm(arguments, at::cuda::getCurrentCUDAStream());
    over_tokens(arguments.tokens, [&](int64_t begin, int64_t end) {
      kernels::cpu::head_norm(arguments, begin, end);
    });
  });
}

namespace {

// Points the kernel's ranges into [4, channels]; nowhere for null.
template <typename T>
void set_ranges(kernels::RotaryObserveArguments<T>& arguments, float* ranges) {
  if (ranges == nullptr) return;
  const int64_t channels = arguments.kv_heads * arguments.head_dim;
  arguments.key_minimum = ranges;
  arguments.key_maximum = ranges + channels;
  arguments.value_minimum = ranges + 2 * channels;
  arguments.value_maximum = ranges + 3 * channels;
}

// Each thread widens ranges of its own; they are merged when all are done.
template <typename T>
void cpu_rotary_observe(const kernels::RotaryObserveArguments<T>& arguments,
                        const at::Tensor& ranges, const at::Tensor& nonfinite) {
  const int64_t channels = arguments.kv_heads * arguments.head_dim;
  const auto threads = static_cast<size_t>(at::get_num_threads());
  std::vector<std::vector<float>> partial(threads);
  over_tokens(arguments.tokens, [&](int64_t begin, int64_t end) {
    std::vector<float>& own = partial[static_cast<size_t>(at::get_thread_num())];
    const float* const known = pointer<const float>(ranges);
    if (own.empty() && known != nullptr) own.assign(known, known + 4 * channels);
    int raised = 0;
    kernels::RotaryObserveArguments<T> mine = arguments;
    set_ranges(mine, own.empty() ? nullptr : own.data());
    mine.nonfinite = &raised;
    kernels::cpu::rotary_observe(mine, begin, end);
    raise_flag(nonfinite, raised);
  });
  auto* const merged = pointer<float>(ranges);
  for (const std::vector<float>& own : partial) {
    for (size_t i = 0; i < own.size(); ++i) {
      const bool is_maximum = (static_cast<int64_t>(i) / channels) % 2 == 1;
      merged[i] = is_maximum ? std::max(merged[i], own[i]) : std::min(merged[i], own[i]);
    }
  }
}

}  // namespace

void rotary_observe(const at::Tensor& qkv, const at::Tensor& bias, const RotaryTensors& rotary,
                    const QkvShape& shape, const at::Tensor& ranges, const at::Tensor& nonfinite) {
  check_matrix(qkv, qkv.size(0), (shape.heads + 2 * shape.kv_heads) * shape.head_dim);
  check_matrix(rotary.cosine, rotary.sine.size(0), shape.head_dim / 2);
  TORCH_CHECK(!ranges.defined() ||
                  (ranges.is_contiguous() && ranges.numel() == 4 * shape.kv_heads * shape.head_dim),
              "ranges must be [4, kv_heads, head_dim]");
  with_kernel_type(qkv, [&](auto kind) {
    using T = decltype(kind);
    kernels::RotaryObserveArguments<T> arguments{
        .qkv = pointer<T>(qkv),
        .bias = pointer<const T>(bias),
        .cosine = pointer<const float>(rotary.cosine),
        .sine = pointer<const float>(rotary.sine),
        .query_scale = pointer<const float>(rotary.query_scale),
        .tokens = qkv.size(0),
        .length = rotary.cosine.size(0),
        .row_stride = qkv.stride(0),
        .heads = shape.heads,
        .kv_heads = shape.kv_heads,
        .head_dim = shape.head_dim,
        .interleaved = true,
        .nonfinite = pointer<int>(nonfinite),
    };
    set_ranges(arguments, pointer<float>(ranges));
    if (qkv.is_cpu()) return cpu_rotary_observe(arguments, ranges, nonfinite);
    kernels::rotary_observe(arguments, at::cuda::getCurrentCUDAStream());
  });
}

void swiglu(const at::Tensor& gate_up, const at::Tensor& out) {
  check_matrix(gate_up, out.size(0), 2 * out.size(1));
  TORCH_CHECK(gate_up.is_contiguous() && out.is_contiguous(), "rows must be dense");
  with_kernel_type(out, [&](auto kind) {
    using T = decltype(kind);
    const kernels::SwigluArguments<T> arguments{
        .gate_up = pointer<const T>(gate_up),
        .out = pointer<T>(out),
        .tokens = out.size(0),
        .width = out.size(1),
    };
    if (!out.is_cpu()) return kernels::swiglu(arguments, at::cuda::getCurrentCUDAStream());
    over_tokens(arguments.tokens,
                [&](int64_t begin, int64_t end) { kernels::cpu::swiglu(arguments, begin, end); });
  });
}

}  // namespace kvcalib
