// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/operations.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/stack.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAGuard.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <vector>

#include "kernels/rms_norm.h"
#include "kernels/rotary_observe.h"
#include "kernels/swiglu.h"

// MKL's, which LibTorch exports where it is built with it; absent elsewhere.
extern "C" __attribute__((weak)) int MKL_Set_Num_Threads_Local(int threads);

namespace kvcalib {
namespace {

// While it lives, GEMMs on this thread are single-threaded.  MKL sums in another order when it
// thinks that it may use several threads, even where it then does not.
class SingleThreadedGemm {
 public:
  SingleThreadedGemm() : previous_(set(1)) {}
  ~SingleThreadedGemm() { set(previous_); }
  SingleThreadedGemm(const SingleThreadedGemm&) = delete;
  SingleThreadedGemm& operator=(const SingleThreadedGemm&) = delete;

 private:
  static int set(int threads) {
    return MKL_Set_Num_Threads_Local != nullptr ? MKL_Set_Num_Threads_Local(threads) : 0;
  }
  int previous_;
};

// Fixed, so that every element is summed in the same order whatever runs beside it and on however
// many threads.
constexpr int64_t kTileRows = 512;
constexpr int64_t kTileColumns = 512;

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

void cpu_linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& out,
                int64_t window, bool accumulate) {
  const int64_t columns = weight.size(1);
  const int64_t row_tiles_of_window = (window + kTileRows - 1) / kTileRows;
  const int64_t row_tiles = x.size(0) / window * row_tiles_of_window;
  const int64_t column_tiles = (columns + kTileColumns - 1) / kTileColumns;
  at::parallel_for(0, row_tiles * column_tiles, 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode inference;  // thread-local
    const SingleThreadedGemm single_threaded;
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t row_tile = tile % row_tiles;
      const int64_t in_window = row_tile % row_tiles_of_window * kTileRows;
      const int64_t row = row_tile / row_tiles_of_window * window + in_window;
      const int64_t column = tile / row_tiles * kTileColumns;
      const at::Tensor x_tile = x.narrow(0, row, std::min(kTileRows, window - in_window));
      const int64_t width = std::min(kTileColumns, columns - column);
      const at::Tensor weight_tile = weight.narrow(1, column, width);
      at::Tensor out_tile = out.narrow(0, row, x_tile.size(0)).narrow(1, column, width);
      if (accumulate)
        at::addmm_out(out_tile, out_tile, x_tile, weight_tile);
      else
        at::mm_out(out_tile, x_tile, weight_tile);
    }
  });
}

// A window and a kv head at a time, each on one thread, for the same reason as the tiles of
// cpu_linear.  The q heads of a group read their K and V with a stride of zero between them:
// nothing is copied.
void cpu_causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& out) {
  const int64_t length = q.size(1);
  const int64_t kv_heads = k.size(2);
  const int64_t group = q.size(2) / kv_heads;
  at::parallel_for(0, q.size(0) * kv_heads, 1, [&](int64_t begin, int64_t end) {
    const c10::InferenceMode inference;  // thread-local
    const SingleThreadedGemm single_threaded;
    for (int64_t task = begin; task < end; ++task) {
      const int64_t window = task / kv_heads;
      const int64_t head = task % kv_heads;
      const auto heads_of = [&](const at::Tensor& tensor,
                                int64_t count) {  // [1, count, length, head_dim]
        return tensor[window].narrow(1, head * count, count).transpose(0, 1).unsqueeze(0);
      };
      const at::Tensor key = heads_of(k, 1).expand({1, group, length, k.size(3)});
      const at::Tensor value = heads_of(v, 1).expand({1, group, length, v.size(3)});
      const at::Tensor attended = std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(
          heads_of(q, group), key, value, /*dropout_p=*/0.0, /*is_causal=*/true));
      heads_of(out, group).copy_(attended);
    }
  });
}

}  // namespace

void linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& out, int64_t window,
            bool accumulate) {
  check_matrix(weight, x.size(1), out.size(1));
  check_matrix(out, x.size(0), weight.size(1));
  TORCH_CHECK(x.size(0) % window == 0, "tokens must be whole windows");
  if (x.is_cpu()) return cpu_linear(x, weight, out, window, accumulate);
  at::Tensor result = out;
  if (accumulate)
    at::addmm_out(result, result, x, weight);
  else
    at::mm_out(result, x, weight);
}

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

namespace {

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
    if (own.empty()) own.assign(known, known + 4 * channels);
    int raised = 0;
    kernels::RotaryObserveArguments<T> mine = arguments;
    mine.key_minimum = own.data();
    mine.key_maximum = own.data() + channels;
    mine.value_minimum = own.data() + 2 * channels;
    mine.value_maximum = own.data() + 3 * channels;
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
  TORCH_CHECK(ranges.is_contiguous() && ranges.numel() == 4 * shape.kv_heads * shape.head_dim,
              "ranges must be [4, kv_heads, head_dim], got ", ranges.sizes());
  const int64_t channels = shape.kv_heads * shape.head_dim;
  with_kernel_type(qkv, [&](auto kind) {
    using T = decltype(kind);
    auto* const range = pointer<float>(ranges);
    const kernels::RotaryObserveArguments<T> arguments{
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
        .key_minimum = range,
        .key_maximum = range + channels,
        .value_minimum = range + 2 * channels,
        .value_maximum = range + 3 * channels,
        .nonfinite = pointer<int>(nonfinite),
    };
    if (qkv.is_cpu()) return cpu_rotary_observe(arguments, ranges, nonfinite);
    kernels::rotary_observe(arguments, at::cuda::getCurrentCUDAStream());
  });
}

at::Tensor causal_attention(const at::Tensor& qkv, const QkvShape& shape, int64_t window) {
  const int64_t windows = qkv.size(0) / window;
  const at::Tensor heads = qkv.view({windows, window, -1, shape.head_dim});
  const at::Tensor q = heads.narrow(2, 0, shape.heads);
  const at::Tensor k = heads.narrow(2, shape.heads, shape.kv_heads);
  const at::Tensor v = heads.narrow(2, shape.heads + shape.kv_heads, shape.kv_heads);
  if (qkv.is_cpu()) {
    const at::Tensor out = at::empty({windows, window, shape.heads, shape.head_dim}, qkv.options());
    cpu_causal_attention(q, k, v, out);
    return out.view({qkv.size(0), shape.heads * shape.head_dim});
  }
  // Named rather than chosen by Torch: a calibration must repeat.
  const at::Tensor attended = std::get<0>(at::_scaled_dot_product_flash_attention(
      q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), /*dropout_p=*/0.0,
      /*is_causal=*/true));
  return attended.transpose(1, 2).reshape({qkv.size(0), shape.heads * shape.head_dim});
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
