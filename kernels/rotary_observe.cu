// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <climits>
#include <type_traits>

#include "kernels/cuda_channel_ranges.h"
#include "kernels/cuda_check.h"
#include "kernels/cuda_chunk.h"
#include "kernels/cuda_head_unit.h"
#include "kernels/rotary_observe.h"

namespace kvcalib::kernels {
namespace {

constexpr int64_t kThreads = 128;
constexpr int64_t kMostTokensPerBlock = 64;  // enough to make the merge of the ranges cheap
constexpr int64_t kFewestTokensPerBlock = 8;
constexpr int64_t kEnoughBlocks = 512;          // a few for every multiprocessor
constexpr int kStagedTokens = 32;               // whose angles fit 32 KB at the largest head_dim
constexpr int kBlocksPerProcessor = 6;          // 80 registers a thread: occupancy hides the loads
constexpr int kCodingBlocksPerProcessor = 4;    // 128: scales and zeros stay in them
constexpr int64_t kMaximumTokenBlocks = 65535;  // the grid's second dimension

template <int M>
__device__ void load_floats(const float* source, float* target) {
  if constexpr (M == 1) {
    target[0] = *source;
  } else {
    static_assert(M % 4 == 0);
#pragma unroll
    for (int m = 0; m < M; m += 4) {
      const float4 raw = *reinterpret_cast<const float4*>(source + m);
      memcpy(target + m, &raw, sizeof(raw));
    }
  }
}

// Copies the rows of `count` positions from a table of [length, half] to `staged`; the whole block
// takes part.
template <int N>
__device__ void stage_angles(const float* table, const int32_t* positions, int count, int half,
                             float* staged) {
  constexpr int kFloats = N == 1 ? 1 : 4;
  for (int i = threadIdx.x * kFloats; i < count * half; i += blockDim.x * kFloats) {
    const int64_t row = __ldg(positions + i / half);
    load_floats<kFloats>(table + row * half + i % half, staged + i);
  }
}

// The N angles of a unit, in the order in which rotate() takes them.
template <typename T, int N>
__device__ void load_angles(const Unit<T, N>& unit, const float* table, float (&angles)[N]) {
  if constexpr (N > 1) {
    load_floats<N / 2>(table + unit.low / 2, angles);
    load_floats<N / 2>(table + unit.high / 2, angles + N / 2);
  } else {
    load_floats<N>(table + unit.low / 2, angles);
  }
}

// Intrinsics keep the compiler from fusing, so that the CPU twin gives the same bits.
template <typename T>
__device__ void rotate_pair(T& first, T& second, float cosine, float sine) {
  const float x0 = to_float(first);
  const float x1 = to_float(second);
  first = from_float<T>(__fsub_rn(__fmul_rn(cosine, x0), __fmul_rn(sine, x1)));
  second = from_float<T>(__fadd_rn(__fmul_rn(cosine, x1), __fmul_rn(sine, x0)));
}

template <typename T, int N>
__device__ void rotate(Chunk<T, N>& low, Chunk<T, N>& high, const float (&cosine)[N],
                       const float (&sine)[N]) {
#pragma unroll
  for (int n = 0; n < N; ++n) {
    if constexpr (N > 1) {
      T* const pair = n < N / 2 ? low.values + 2 * n : high.values + 2 * (n - N / 2);
      rotate_pair(pair[0], pair[1], cosine[n], sine[n]);
    } else {
      rotate_pair(low.values[n], high.values[n], cosine[n], sine[n]);
    }
  }
}

template <typename T, int N>
__device__ void add(Chunk<T, N>& chunk, const Chunk<T, N>& bias) {
#pragma unroll
  for (int n = 0; n < N; ++n) {
    chunk.values[n] = from_float<T>(to_float(chunk.values[n]) + to_float(bias.values[n]));
  }
}

template <typename T, int N>
__device__ void scale(Chunk<T, N>& chunk, float factor) {
#pragma unroll
  for (int n = 0; n < N; ++n) {
    chunk.values[n] = from_float<T>(to_float(chunk.values[n]) * factor);
  }
}

// Reports values that are not finite and widens the ranges of the unit's kv head where they are
// wanted.
template <typename T, int N>
__device__ void merge(const RotaryObserveArguments<T>& arguments, const Unit<T, N>& unit,
                      bool is_value, const ChannelRanges<T, N>& low,
                      const ChannelRanges<T, N>& high) {
  if (!low.finite() || !high.finite()) {
    atomicOr(arguments.nonfinite, is_value ? kNonfiniteValue : kNonfiniteKey);
  }
  const ChannelRange& range = is_value ? arguments.values : arguments.keys;
  if (range.minimum == nullptr) return;
  const int64_t kv_head = unit.head - arguments.heads - (is_value ? arguments.kv_heads : 0);
  float* const minimum = range.minimum + kv_head * arguments.head_dim;
  float* const maximum = range.maximum + kv_head * arguments.head_dim;
  low.merge(minimum + unit.low, maximum + unit.low);
  high.merge(minimum + unit.high, maximum + unit.high);
}

// Of all units of a row, those [first, last) that a kernel has.
struct UnitRange {
  int64_t first, last;
};

// Each thread takes its unit through the tokens of its block, loading one token ahead; the block's
// angles wait in shared memory.
template <typename T, int N, bool kCoded>
__global__ void __launch_bounds__(kThreads,
                                  kCoded ? kCodingBlocksPerProcessor : kBlocksPerProcessor)
    rotary_observe_units(const RotaryObserveArguments<T> arguments, UnitRange units,
                         int64_t tokens_per_block) {
  extern __shared__ float4 staged_angles[];  // kStagedTokens rows of cosines, then of sines
  const int half = static_cast<int>(arguments.head_dim) / 2;
  float* const cosines = reinterpret_cast<float*>(staged_angles);
  float* const sines = cosines + kStagedTokens * half;

  const int64_t first_index = units.first + static_cast<int64_t>(blockIdx.x) * blockDim.x;
  const int64_t rotated_heads = arguments.heads + arguments.kv_heads;
  const bool block_rotates = Unit<T, N>(arguments.head_dim, first_index).head < rotated_heads;
  const Unit<T, N> unit(arguments.head_dim, first_index + threadIdx.x);
  const bool is_query = unit.head < arguments.heads;
  const bool is_value = unit.head >= rotated_heads;
  const bool is_stored = kCoded || !is_value || arguments.bias != nullptr;
  const bool is_idle = first_index + threadIdx.x >= units.last;

  const int64_t first = blockIdx.y * tokens_per_block;
  const int64_t last = min(first + tokens_per_block, arguments.tokens);
  const int64_t low_column = unit.head * arguments.head_dim + unit.low;
  const int high_offset = unit.high - unit.low;
  T* row = arguments.qkv + first * arguments.row_stride + low_column;
  Chunk<T, N> low_bias, high_bias, next_low, next_high;
  if (!is_idle) {
    if (arguments.bias != nullptr) {
      low_bias = load_constant_chunk<T, N>(arguments.bias + low_column);
      high_bias = load_constant_chunk<T, N>(arguments.bias + low_column + high_offset);
    }
    next_low = load_chunk<T, N>(row);
    next_high = load_chunk<T, N>(row + high_offset);
  }

  ChannelRanges<T, N> low_ranges, high_ranges;
  std::conditional_t<kCoded, UnitCodes<T, N>, NoCodes> codes(
      is_value ? arguments.value_codes : arguments.key_codes,
      unit.head - arguments.heads - (is_value ? arguments.kv_heads : 0), arguments.kv_heads,
      arguments.head_dim, unit);
  for (int64_t stage = first; stage < last; stage += kStagedTokens) {
    const int count = static_cast<int>(min(last - stage, int64_t{kStagedTokens}));
    if (block_rotates) {
      __syncthreads();
      stage_angles<N>(arguments.cosine, arguments.positions + stage, count, half, cosines);
      stage_angles<N>(arguments.sine, arguments.positions + stage, count, half, sines);
      __syncthreads();
    }
    if (is_idle) continue;
    for (int i = 0; i < count; ++i, row += arguments.row_stride) {
      auto low = next_low;
      auto high = next_high;
      if (stage + i + 1 < last) {
        next_low = load_chunk<T, N>(row + arguments.row_stride);
        next_high = load_chunk<T, N>(row + arguments.row_stride + high_offset);
      }
      if (arguments.bias != nullptr) {
        add(low, low_bias);
        add(high, high_bias);
      }
      if (!is_value) {
        float cosine[N], sine[N];
        load_angles(unit, cosines + i * half, cosine);
        load_angles(unit, sines + i * half, sine);
        rotate<T, N>(low, high, cosine, sine);
      }
      if (is_query && arguments.query_scale != nullptr) {
        const int32_t position = __ldg(arguments.positions + stage + i);
        const float factor = __ldg(arguments.query_scale + position);
        scale(low, factor);
        scale(high, factor);
      }
      if (!is_query) {
        if constexpr (kCoded) {
          low_ranges.watch(low);
          high_ranges.watch(high);
          codes.convert(low, high);
        } else {
          low_ranges.observe(low);
          high_ranges.observe(high);
        }
      }
      if (is_stored) {
        store_chunk(row, low);
        store_chunk(row + high_offset, high);
      }
    }
  }
  if (!is_query && !is_idle) {
    merge(arguments, unit, is_value, low_ranges, high_ranges);
  }
  if constexpr (kCoded)
    codes.add_counts(blockIdx.y == 0 ? arguments.tokens * arguments.head_dim : 0);
}

template <typename T, int N, bool kCoded>
void launch(const RotaryObserveArguments<T>& arguments, const UnitRange& units, Stream stream) {
  const int64_t count = units.last - units.first;
  const int64_t threads = std::min(kThreads, (count + 31) / 32 * 32);
  const int64_t unit_blocks = (count + threads - 1) / threads;
  const int64_t tokens_per_block =
      std::max(std::clamp(arguments.tokens * unit_blocks / kEnoughBlocks, kFewestTokensPerBlock,
                          kMostTokensPerBlock),
               (arguments.tokens + kMaximumTokenBlocks - 1) / kMaximumTokenBlocks);
  require(unit_blocks <= INT_MAX, "rotary_observe: fewer columns");
  const dim3 grid(
      static_cast<unsigned>(unit_blocks),
      static_cast<unsigned>((arguments.tokens + tokens_per_block - 1) / tokens_per_block));
  const size_t staged_bytes =
      kStagedTokens * static_cast<size_t>(arguments.head_dim) * sizeof(float);
  rotary_observe_units<T, N, kCoded>
      <<<grid, static_cast<unsigned>(threads), staged_bytes, stream>>>(arguments, units,
                                                                       tokens_per_block);
  CUDA_CHECK(cudaGetLastError());
}

// Queries have no codes, and a kernel that needs fewer registers.
template <typename T, int N>
void launch_coded(const RotaryObserveArguments<T>& arguments, Stream stream) {
  require(rotary_makes_codes(arguments.head_dim), "rotary_observe: no codes of this head_dim");
  require(!arguments.observes(), "rotary_observe: ranges or codes");
  const int64_t queries = arguments.heads * arguments.head_dim / 2 / N;
  if (queries > 0) launch<T, N, false>(arguments, {0, queries}, stream);
  launch<T, N, true>(arguments, {queries, arguments.columns() / 2 / N}, stream);
}

}  // namespace

template <typename T>
void rotary_observe(const RotaryObserveArguments<T>& arguments, Stream stream) {
  arguments.check();
  if (arguments.tokens == 0) return;
  constexpr int kElements = kChunkElements<T>;
  if (arguments.head_dim / 2 % kElements == 0 && arguments.row_stride % kElements == 0 &&
      chunk_aligned(arguments.qkv) && chunk_aligned(arguments.bias) &&
      chunk_aligned(arguments.cosine) && chunk_aligned(arguments.sine)) {
    if (arguments.codes())
      launch_coded<T, kElements>(arguments, stream);
    else
      launch<T, kElements, false>(arguments, {0, arguments.columns() / 2 / kElements}, stream);
  } else {
    require(!arguments.codes(), "rotary_observe: codes need rows aligned to 16 bytes");
    launch<T, 1, false>(arguments, {0, arguments.columns() / 2}, stream);
  }
}

template void rotary_observe(const RotaryObserveArguments<Half>&, Stream);
template void rotary_observe(const RotaryObserveArguments<Bfloat16>&, Stream);

}  // namespace kvcalib::kernels
