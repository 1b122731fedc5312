// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/operations.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <type_traits>
#include <vector>

#include "calibrate/engine/kernel_tensors.h"
#include "kernels/head_norm.h"
#include "kernels/pair_reach.h"
#include "kernels/rms_norm.h"
#include "kernels/rotary_observe.h"
#include "kernels/swiglu.h"

namespace kvcalib {
namespace {

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
    const kernels::RmsNormArguments<T> arguments{
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
    if constexpr (std::is_same_v<T, float>) {
      over_tokens(arguments.tokens, [&](int64_t begin, int64_t end) {
        int raised = 0;
        kernels::RmsNormArguments<T> mine = arguments;
        mine.nonfinite = &raised;
        kernels::cpu::rms_norm(mine, begin, end);
        raise_flag(nonfinite, raised);
      });
    } else {
      kernels::rms_norm(arguments, current_stream(hidden));
    }
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
    if constexpr (std::is_same_v<T, float>)
      over_tokens(arguments.tokens, [&](int64_t begin, int64_t end) {
        kernels::cpu::head_norm(arguments, begin, end);
      });
    else
      kernels::head_norm(arguments, current_stream(qkv));
  });
}

namespace {

// A range of one thread's own.
class ThreadRange {
 public:
  void begin(const RangeTensors& known) {
    minimum_.assign(pointer<float>(known.minimum),
                    pointer<float>(known.minimum) + known.minimum.numel());
    maximum_.assign(pointer<float>(known.maximum),
                    pointer<float>(known.maximum) + known.maximum.numel());
  }
  bool begun() const { return !minimum_.empty(); }

  kernels::ChannelRange range() {
    if (!begun()) return {};
    return {minimum_.data(), maximum_.data()};
  }

  void merge_into(const RangeTensors& merged) const {
    for (size_t i = 0; i < minimum_.size(); ++i) {
      float& minimum = pointer<float>(merged.minimum)[i];
      float& maximum = pointer<float>(merged.maximum)[i];
      minimum = std::min(minimum, minimum_[i]);
      maximum = std::max(maximum, maximum_[i]);
    }
  }

 private:
  std::vector<float> minimum_, maximum_;
};

void cpu_rotary_observe(const kernels::RotaryObserveArguments<float>& arguments,
                        const KvRanges& ranges, const at::Tensor& nonfinite) {
  struct Thread {
    ThreadRange keys, values;
  };
  std::vector<Thread> threads(static_cast<size_t>(at::get_num_threads()));
  over_tokens(arguments.tokens, [&](int64_t begin, int64_t end) {
    Thread& own = threads[static_cast<size_t>(at::get_thread_num())];
    if (ranges.keys.minimum.defined() && !own.keys.begun()) {
      own.keys.begin(ranges.keys);
      own.values.begin(ranges.values);
    }
    int raised = 0;
    kernels::RotaryObserveArguments<float> mine = arguments;
    mine.keys = own.keys.range();
    mine.values = own.values.range();
    mine.nonfinite = &raised;
    kernels::cpu::rotary_observe(mine, begin, end);
    raise_flag(nonfinite, raised);
  });
  for (const Thread& thread : threads) {
    thread.keys.merge_into(ranges.keys);
    thread.values.merge_into(ranges.values);
  }
}

void check_range(const at::Tensor& range, const QkvShape& shape) {
  TORCH_CHECK(!range.defined() ||
                  (range.is_contiguous() && range.numel() == shape.kv_heads * shape.head_dim),
              "ranges and codes must be [kv_heads, head_dim]");
}

kernels::Int8Channels int8_channels(const CodeTensors& codes, const QkvShape& shape) {
  check_range(codes.scale, shape);
  check_range(codes.zero, shape);
  TORCH_CHECK(!codes.counts.defined() ||
                  (codes.counts.is_contiguous() && codes.counts.size(0) == shape.kv_heads),
              "counts must be of [kv_heads]");
  return {pointer<const float>(codes.scale), pointer<const float>(codes.zero),
          reinterpret_cast<kernels::CodeCount*>(pointer<int64_t>(codes.counts))};
}

}  // namespace

void rotary_observe(const at::Tensor& qkv, const at::Tensor& bias, const RotaryTensors& rotary,
                    const at::Tensor& positions, const QkvShape& shape, const KvRanges& ranges,
                    const KvCodes& codes, const at::Tensor& nonfinite) {
  check_matrix(qkv, qkv.size(0), (shape.heads + 2 * shape.kv_heads) * shape.head_dim);
  check_matrix(rotary.cosine, rotary.sine.size(0), shape.head_dim / 2);
  TORCH_CHECK(positions.is_contiguous() && positions.numel() == qkv.size(0),
              "a position for every token");
  for (const RangeTensors& range : {ranges.keys, ranges.values}) {
    check_range(range.minimum, shape);
    check_range(range.maximum, shape);
  }
  TORCH_CHECK(!codes.keys.scale.defined() || !qkv.is_cpu(), "rotary_observe: codes on a CPU");
  with_kernel_type(qkv, [&](auto kind) {
    using T = decltype(kind);
    const kernels::RotaryObserveArguments<T> arguments{
        .qkv = pointer<T>(qkv),
        .bias = pointer<const T>(bias),
        .positions = pointer<const int32_t>(positions),
        .cosine = pointer<const float>(rotary.cosine),
        .sine = pointer<const float>(rotary.sine),
        .query_scale = pointer<const float>(rotary.query_scale),
        .tokens = qkv.size(0),
        .length = rotary.cosine.size(0),
        .row_stride = qkv.stride(0),
        .heads = shape.heads,
        .kv_heads = shape.kv_heads,
        .head_dim = shape.head_dim,
        .keys = {pointer<float>(ranges.keys.minimum), pointer<float>(ranges.keys.maximum)},
        .values = {pointer<float>(ranges.values.minimum), pointer<float>(ranges.values.maximum)},
        .key_codes = int8_channels(codes.keys, shape),
        .value_codes = int8_channels(codes.values, shape),
        .nonfinite = pointer<int>(nonfinite),
    };
    if constexpr (std::is_same_v<T, float>)
      cpu_rotary_observe(arguments, ranges, nonfinite);
    else
      kernels::rotary_observe(arguments, current_stream(qkv));
  });
}

namespace {

void cpu_pair_reach(const kernels::PairReachArguments<float>& arguments, const at::Tensor& reach) {
  float* const merged = pointer<float>(reach);
  const auto size = static_cast<size_t>(reach.numel());
  std::vector<std::vector<float>> threads(static_cast<size_t>(at::get_num_threads()));
  over_tokens(arguments.tokens, [&](int64_t begin, int64_t end) {
    std::vector<float>& own = threads[static_cast<size_t>(at::get_thread_num())];
    if (own.empty()) own.assign(merged, merged + size);
    kernels::PairReachArguments<float> mine = arguments;
    mine.reach = own.data();
    kernels::cpu::pair_reach(mine, begin, end);
  });
  for (const std::vector<float>& own : threads)
    for (size_t i = 0; i < own.size(); ++i) merged[i] = std::max(merged[i], own[i]);
}

}  // namespace

void pair_reach(const at::Tensor& qkv, const RotaryTensors& rotary, const at::Tensor& positions,
                const QkvShape& shape, const at::Tensor& reach) {
  check_matrix(qkv, qkv.size(0), (shape.heads + 2 * shape.kv_heads) * shape.head_dim);
  check_matrix(rotary.cosine, rotary.sine.size(0), shape.head_dim / 2);
  TORCH_CHECK(positions.is_contiguous() && positions.numel() == qkv.size(0),
              "a position for every token");
  TORCH_CHECK(reach.is_contiguous() &&
                  reach.numel() == kernels::kReachDirections * shape.kv_heads * shape.head_dim / 2,
              "the reach must be [directions, kv_heads, head_dim / 2]");
  with_kernel_type(qkv, [&](auto kind) {
    using T = decltype(kind);
    const kernels::PairReachArguments<T> arguments{
        .qkv = pointer<const T>(qkv),
        .positions = pointer<const int32_t>(positions),
        .cosine = pointer<const float>(rotary.cosine),
        .sine = pointer<const float>(rotary.sine),
        .tokens = qkv.size(0),
        .length = rotary.cosine.size(0),
        .row_stride = qkv.stride(0),
        .heads = shape.heads,
        .kv_heads = shape.kv_heads,
        .head_dim = shape.head_dim,
        .reach = pointer<float>(reach),
    };
    if constexpr (std::is_same_v<T, float>)
      cpu_pair_reach(arguments, reach);
    else
      kernels::pair_reach(arguments, current_stream(qkv));
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
    if constexpr (std::is_same_v<T, float>)
      over_tokens(arguments.tokens,
                  [&](int64_t begin, int64_t end) { kernels::cpu::swiglu(arguments, begin, end); });
    else
      kernels::swiglu(arguments, current_stream(out));
  });
}

}  // namespace kvcalib
