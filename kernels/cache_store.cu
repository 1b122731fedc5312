// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <climits>

#include "kernels/cache_store.h"
#include "kernels/cuda_cache_codes.h"
#include "kernels/cuda_check.h"
#include "kernels/cuda_chunk.h"

namespace kvcalib::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kAhead = 8;                    // tokens that a thread loads together
constexpr int64_t kMostTokensPerBlock = 32;  // enough to make scales cheap
constexpr int64_t kFewestTokensPerBlock = 8;
constexpr int64_t kEnoughBlocks = 512;
constexpr int64_t kMaximumTokenBlocks = 65535;

template <typename T>
constexpr int kWide = kChunkElements<T>;  // elements of a thread's access

// A thread's channels, of K or of V: a chunk of a head.
template <typename T>
struct Channels {
  int64_t column;  // of the row's first
  int64_t head;
  int channel;
  bool is_key, exists;

  __device__ explicit Channels(const PagedCache& cache) {
    const int64_t unit = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    const int64_t units = cache.kv_heads * cache.head_dim / kWide<T>;
    is_key = unit < units;
    exists = unit < 2 * units;
    column = unit % units * kWide<T>;
    head = column / cache.head_dim;
    channel = static_cast<int>(column % cache.head_dim);
  }

  __device__ int64_t offset(const PagedCache& cache, int64_t slot) const {
    const int64_t block = slot / kCacheBlockTokens, place = slot % kCacheBlockTokens;
    return ((block * cache.kv_heads + head) * kCacheBlockTokens + place) * cache.head_dim + channel;
  }
};

// So many codes, in one access.
struct CodeChunk {
  uint8_t codes[8];
};

template <bool kAway>
__device__ inline float whole_steps(float steps) {
  const float bounded = bounded_steps(steps);
  if constexpr (!kAway) return rounded_to_even(bounded);
  const float magnitude = fabsf(bounded), even = rounded_to_even(magnitude);
  return copysignf(magnitude - even == 0.5f ? even + 1.0f : even, bounded);
}

// What a thread does to its channels of a token.
template <typename T, bool kAway>
class Encoder {
 public:
  __device__ Encoder(const PagedTensor& tensor, int64_t column) {
#pragma unroll
    for (int n = 0; n < kWide<T>; ++n) {
      scale_[n] = Divisor(__ldg(tensor.scale + column + n));
      zero_[n] = __ldg(tensor.zero + column + n);
      plain_ = plain_ && scale_[n].is_plain();
    }
  }

  // The codes of a chunk, which becomes what is read back of them.
  __device__ CodeChunk encode(Chunk<T, kWide<T>>& chunk) const {
    return plain_ ? encode_all<true>(chunk) : encode_all<false>(chunk);
  }

 private:
  template <bool kPlain>
  __device__ CodeChunk encode_all(Chunk<T, kWide<T>>& chunk) const {
    CodeChunk found;
#pragma unroll
    for (int n = 0; n < kWide<T>; ++n) {
      const float value = __fsub_rn(to_float(chunk.values[n]), zero_[n]);
      const float code = whole_steps<kAway>(scale_[n].template quotient<kPlain>(value));
      found.codes[n] = static_cast<uint8_t>(static_cast<int>(code) + kCodeOffset);
      chunk.values[n] = from_float<T>(__fadd_rn(__fmul_rn(code, scale_[n].value), zero_[n]));
    }
    return found;
  }

  Divisor scale_[kWide<T>];
  float zero_[kWide<T>];
  bool plain_ = true;
};

template <typename T, bool kAway>
__global__ void __launch_bounds__(kThreads)
    store_codes(const CacheStoreArguments<T> arguments, int64_t tokens_per_block) {
  const Channels<T> own(arguments.cache);
  if (!own.exists) return;
  const PagedTensor& tensor = own.is_key ? arguments.cache.keys : arguments.cache.values;
  T* const rows = (own.is_key ? arguments.keys : arguments.values) + own.column;
  auto* const codes = static_cast<uint8_t*>(tensor.elements);
  const Encoder<T, kAway> encoder(tensor, own.column);
  const int64_t first = blockIdx.y * tokens_per_block;
  const int64_t last = min(first + tokens_per_block, arguments.tokens);
  for (int64_t token = first; token < last; token += kAhead) {
    Chunk<T, kWide<T>> chunks[kAhead];
#pragma unroll
    for (int ahead = 0; ahead < kAhead; ++ahead)
      if (token + ahead < last)
        chunks[ahead] = load_chunk<T, kWide<T>>(rows + (token + ahead) * arguments.row_stride);
#pragma unroll
    for (int ahead = 0; ahead < kAhead; ++ahead) {
      if (token + ahead >= last) continue;
      const CodeChunk found = encoder.encode(chunks[ahead]);
      uint2 raw;
      memcpy(&raw, &found, sizeof raw);
      const int64_t offset = own.offset(arguments.cache, __ldg(arguments.slots + token + ahead));
      *reinterpret_cast<uint2*>(codes + offset) = raw;
      if (arguments.read_back)
        store_chunk(rows + (token + ahead) * arguments.row_stride, chunks[ahead]);
    }
  }
}

// Elements as they are, from rows to the cache or back.
template <typename T, bool kToCache>
__global__ void __launch_bounds__(kThreads)
    move_elements(T* keys, T* values, const int64_t* slots, int64_t tokens, int64_t row_stride,
                  const PagedCache cache, int64_t tokens_per_block) {
  const Channels<T> own(cache);
  if (!own.exists) return;
  T* const rows = (own.is_key ? keys : values) + own.column;
  T* const elements = static_cast<T*>((own.is_key ? cache.keys : cache.values).elements);
  const int64_t first = blockIdx.y * tokens_per_block;
  const int64_t last = min(first + tokens_per_block, tokens);
#pragma unroll 8
  for (int64_t token = first; token < last; ++token) {
    T* const row = rows + token * row_stride;
    T* const stored = elements + own.offset(cache, __ldg(slots + token));
    store_chunk(kToCache ? stored : row, load_chunk<T, kWide<T>>(kToCache ? row : stored));
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    load_codes(const CacheLoadArguments<T> arguments, int64_t tokens_per_block) {
  const Channels<T> own(arguments.cache);
  if (!own.exists) return;
  const PagedTensor& tensor = own.is_key ? arguments.cache.keys : arguments.cache.values;
  T* const rows = (own.is_key ? arguments.keys : arguments.values) + own.column;
  const auto* const codes = static_cast<const uint8_t*>(tensor.elements);
  float scale[kWide<T>], zero[kWide<T>];
#pragma unroll
  for (int n = 0; n < kWide<T>; ++n) {
    scale[n] = __ldg(tensor.scale + own.column + n);
    zero[n] = __ldg(tensor.zero + own.column + n);
  }
  const int64_t first = blockIdx.y * tokens_per_block;
  const int64_t last = min(first + tokens_per_block, arguments.tokens);
#pragma unroll 8
  for (int64_t token = first; token < last; ++token) {
    const int64_t offset = own.offset(arguments.cache, __ldg(arguments.slots + token));
    const uint2 raw = *reinterpret_cast<const uint2*>(codes + offset);
    CodeChunk found;
    memcpy(&found, &raw, sizeof raw);
    Chunk<T, kWide<T>> chunk;
#pragma unroll
    for (int n = 0; n < kWide<T>; ++n) {
      const auto code = static_cast<float>(static_cast<int>(found.codes[n]) - kCodeOffset);
      chunk.values[n] = from_float<T>(__fadd_rn(__fmul_rn(code, scale[n]), zero[n]));
    }
    store_chunk(rows + token * arguments.row_stride, chunk);
  }
}

struct Launch {
  dim3 grid;
  int64_t tokens_per_block;
};

template <typename T>
Launch launch_of(const T* keys, const T* values, int64_t tokens, int64_t row_stride,
                 const PagedCache& cache) {
  require(cache.head_dim % kWide<T> == 0 && row_stride % kWide<T> == 0 && chunk_aligned(keys) &&
              chunk_aligned(values) && chunk_aligned(cache.keys.elements) &&
              chunk_aligned(cache.values.elements),
          "paged cache: heads and rows are of whole 16 bytes on GPUs");
  const int64_t units = 2 * cache.columns() / kWide<T>;
  const int64_t head_blocks = (units + kThreads - 1) / kThreads;
  int64_t per_block = kMostTokensPerBlock;
  while (per_block > kFewestTokensPerBlock && tokens / per_block * head_blocks < kEnoughBlocks)
    per_block /= 2;
  per_block = std::max(per_block, (tokens + kMaximumTokenBlocks - 1) / kMaximumTokenBlocks);
  return {dim3(static_cast<unsigned>(head_blocks),
               static_cast<unsigned>((tokens + per_block - 1) / per_block)),
          per_block};
}

}  // namespace

template <typename T>
void cache_store(const CacheStoreArguments<T>& arguments, Stream stream) {
  arguments.check();
  if (arguments.tokens == 0) return;
  const PagedCache& cache = arguments.cache;
  const auto [grid, per_block] =
      launch_of(arguments.keys, arguments.values, arguments.tokens, arguments.row_stride, cache);
  if (!cache.holds_codes())
    move_elements<T, true><<<grid, kThreads, 0, stream>>>(arguments.keys, arguments.values,
                                                          arguments.slots, arguments.tokens,
                                                          arguments.row_stride, cache, per_block);
  else if (arguments.rounding == CodeRounding::kHalfAway)
    store_codes<T, true><<<grid, kThreads, 0, stream>>>(arguments, per_block);
  else
    store_codes<T, false><<<grid, kThreads, 0, stream>>>(arguments, per_block);
  CUDA_CHECK(cudaGetLastError());
}

template <typename T>
void cache_load(const CacheLoadArguments<T>& arguments, Stream stream) {
  arguments.check();
  if (arguments.tokens == 0) return;
  const PagedCache& cache = arguments.cache;
  const auto [grid, per_block] =
      launch_of(arguments.keys, arguments.values, arguments.tokens, arguments.row_stride, cache);
  if (cache.holds_codes())
    load_codes<T><<<grid, kThreads, 0, stream>>>(arguments, per_block);
  else
    move_elements<T, false><<<grid, kThreads, 0, stream>>>(arguments.keys, arguments.values,
                                                           arguments.slots, arguments.tokens,
                                                           arguments.row_stride, cache, per_block);
  CUDA_CHECK(cudaGetLastError());
}

template void cache_store(const CacheStoreArguments<Half>&, Stream);
template void cache_store(const CacheStoreArguments<Bfloat16>&, Stream);
template void cache_load(const CacheLoadArguments<Half>&, Stream);
template void cache_load(const CacheLoadArguments<Bfloat16>&, Stream);

}  // namespace kvcalib::kernels
