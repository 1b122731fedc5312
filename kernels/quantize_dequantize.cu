// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda_cache_codes.h"
#include "kernels/cuda_check.h"
#include "kernels/cuda_head_part.h"
#include "kernels/quantize_dequantize.h"

namespace kvcalib::kernels {
namespace {

constexpr int64_t kEnoughBlocks = 512;  // a few for every multiprocessor

// Each group takes its head through the tokens of its block, loading some at a time.
template <typename T, int N, CacheCode kCode, bool kCounted>
__global__ void __launch_bounds__(kHeadThreads)
    quantize_heads(const QuantizeDequantizeArguments<T> arguments, int lanes,
                   int64_t tokens_per_block) {
  using Held = Part<T, N>;
  constexpr int kAhead = N == 1 ? 1 : 4;
  const Place<T, N> place(arguments.kv_heads, arguments.head_dim, lanes);
  const int64_t first = blockIdx.y * tokens_per_block;
  const int64_t last = min(first + tokens_per_block, arguments.tokens);
  T* const values = arguments.values + place.head * arguments.head_dim;

  CacheCodes<kCode, Held::kElements, kCounted> codes;
  if constexpr (kCode != CacheCode::kInt8OfToken) {
#pragma unroll
    for (int i = 0; i < Held::kElements; ++i) {
      const int channel = place.channel(i / N) + i % N;
      if (channel >= place.channels) continue;
      const int64_t column = place.head * arguments.head_dim + channel;
      codes.set_scale(i, __ldg(arguments.scale + column));
      if constexpr (kCode == CacheCode::kInt8) codes.set_zero(i, __ldg(arguments.zero + column));
    }
  }

  for (int64_t token = first; token < last; token += kAhead) {
    Held held[kAhead];
#pragma unroll
    for (int ahead = 0; ahead < kAhead; ++ahead)
      held[ahead] = load_part<T, N>(place, values + (token + ahead) * arguments.row_stride,
                                    token + ahead < last);
#pragma unroll
    for (int ahead = 0; ahead < kAhead; ++ahead) {
      float found[Held::kElements];
      widen_part<T, N>(held[ahead], found);
      codes.convert(found, lanes);
      if (token + ahead < last)
        store_part<T, N>(place, rounded_part<T, N>(found),
                         values + (token + ahead) * arguments.row_stride);
    }
  }

  if constexpr (kCounted) {
    codes.reduce_counts(lanes);
    if (place.lane > 0 || place.channels == 0) return;
    const bool counts_values = blockIdx.y == 0;  // for all blocks of its head
    codes.add_counts(arguments.counts[place.head],
                     counts_values ? arguments.tokens * arguments.head_dim : 0);
  }
}

template <typename T, int N, CacheCode kCode, bool kCounted>
void launch(const QuantizeDequantizeArguments<T>& arguments, Stream stream) {
  const HeadGrid grid = head_grid<N>(arguments.kv_heads, arguments.head_dim, arguments.tokens,
                                     kEnoughBlocks, "quantize_dequantize: fewer heads");
  quantize_heads<T, N, kCode, kCounted>
      <<<grid.blocks, grid.threads, 0, stream>>>(arguments, grid.lanes, grid.tokens_per_block);
  CUDA_CHECK(cudaGetLastError());
}

template <typename T, int N>
void launch_code(const QuantizeDequantizeArguments<T>& arguments, Stream stream) {
  const bool counted = arguments.counts != nullptr;
  switch (arguments.code) {
    case CacheCode::kSixteenBits:
      return;  // as the values are
    case CacheCode::kFloat8:
      return launch<T, N, CacheCode::kFloat8, false>(arguments, stream);
    case CacheCode::kInt8:
      return counted ? launch<T, N, CacheCode::kInt8, true>(arguments, stream)
                     : launch<T, N, CacheCode::kInt8, false>(arguments, stream);
    case CacheCode::kInt8OfToken:
      return counted ? launch<T, N, CacheCode::kInt8OfToken, true>(arguments, stream)
                     : launch<T, N, CacheCode::kInt8OfToken, false>(arguments, stream);
  }
}

}  // namespace

template <typename T>
void quantize_dequantize(const QuantizeDequantizeArguments<T>& arguments, Stream stream) {
  arguments.check();
  if (arguments.tokens == 0) return;
  constexpr int kElements = kChunkElements<T>;
  if (arguments.head_dim % kElements == 0 && arguments.row_stride % kElements == 0 &&
      chunk_aligned(arguments.values)) {
    launch_code<T, kElements>(arguments, stream);
  } else {
    launch_code<T, 1>(arguments, stream);
  }
}

template void quantize_dequantize(const QuantizeDequantizeArguments<Half>&, Stream);
template void quantize_dequantize(const QuantizeDequantizeArguments<Bfloat16>&, Stream);

}  // namespace kvcalib::kernels
