// SPDX-License-Identifier: Apache-2.0
#include "kernels/cache_store.h"
#include "kernels/cuda_cache_codes.h"
#include "kernels/cuda_check.h"
#include "kernels/cuda_head_part.h"

namespace kvcalib::kernels {
namespace {

constexpr int64_t kEnoughBlocks = 1024;  // a few for every multiprocessor

// Tokens whose loads are on their way together.
template <int N>
constexpr int kAhead = N == 1 ? 1 : 4;

// K's heads, then V's, as one thread's place has one of them.
template <typename T>
struct Side {
  CachedTensor<T> tensor;
  int64_t head;  // of kv_heads
  bool is_value;

  template <typename Arguments>
  __device__ Side(const Arguments& arguments, int64_t head_of_both) {
    is_value = head_of_both >= arguments.kv_heads;
    tensor = is_value ? arguments.values : arguments.keys;
    head = head_of_both - (is_value ? arguments.kv_heads : 0);
  }
};

// The slots of the next tokens; negative beyond the last one.
template <int kCount>
struct Slots {
  int64_t slots[kCount];

  __device__ Slots(const int64_t* all, int64_t token, int64_t last) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) slots[i] = token + i < last ? __ldg(all + token + i) : -1;
  }
};

// The codes of a part, of which a chunk of 8 is stored at once.
template <typename T, int N>
__device__ void store_codes(const Place<T, N>& place,
                            const uint32_t (&codes)[Part<T, N>::kElements], uint8_t* target) {
  if constexpr (N == 1) {
#pragma unroll
    for (int i = 0; i < Part<T, N>::kElements; ++i)
      if (place.channel(i) < place.channels)
        target[place.channel(i)] = static_cast<uint8_t>(codes[i]);
  } else {
    static_assert(N == 8);
    if (place.first >= place.channels) return;
    const auto word = [&](int i) {
      return __byte_perm(__byte_perm(codes[i], codes[i + 1], 0x0040),
                         __byte_perm(codes[i + 2], codes[i + 3], 0x0040), 0x5410);
    };
    *reinterpret_cast<uint2*>(target + place.first) = make_uint2(word(0), word(4));
  }
}

// Bytes, of which those of a chunk stand together.
template <typename T, int N>
struct LoadedCodes {
  uint32_t words[N == 1 ? Part<T, N>::kElements : 2];

  __device__ void load(const Place<T, N>& place, const uint8_t* source) {
    if constexpr (N == 1) {
#pragma unroll
      for (int i = 0; i < Part<T, N>::kElements; ++i)
        words[i] = place.channel(i) < place.channels ? source[place.channel(i)] : 0u;
    } else if (place.first < place.channels) {
      const uint2 raw = *reinterpret_cast<const uint2*>(source + place.first);
      words[0] = raw.x;
      words[1] = raw.y;
    }
  }

  __device__ float code(int element) const {
    const uint32_t byte = N == 1 ? words[element] : words[element / 4] >> (element % 4 * 8) & 0xffu;
    return static_cast<float>(static_cast<int>(byte) - 128);
  }
};

// Each group of threads takes its head of K or V through the tokens of its block.
template <typename T, int N, bool kCoded, bool kCounted>
__global__ void __launch_bounds__(kHeadThreads)
    store_heads(const CacheStoreArguments<T> arguments, int lanes, int64_t tokens_per_block) {
  using Held = Part<T, N>;
  const int64_t width = arguments.head_dim;
  const Place<T, N> place(2 * arguments.kv_heads, width, lanes);
  const Side<T> side(arguments, place.head);
  const int64_t first = blockIdx.y * tokens_per_block;
  const int64_t last = min(first + tokens_per_block, arguments.tokens);
  T* const values = side.tensor.values + side.head * width;

  CacheCodes<CacheCode::kInt8, Held::kElements, kCounted> coder;
  if constexpr (kCoded) {
#pragma unroll
    for (int i = 0; i < Held::kElements; ++i) {
      const int channel = place.channel(i / N) + i % N;
      if (channel >= place.channels) continue;
      coder.set_scale(i, __ldg(side.tensor.scale + side.head * width + channel));
      coder.set_zero(i, __ldg(side.tensor.zero + side.head * width + channel));
    }
  }

  int64_t stored = 0;
  for (int64_t token = first; token < last; token += kAhead<N>) {
    const Slots<kAhead<N>> slots(arguments.slots, token, last);
    Held held[kAhead<N>];
#pragma unroll
    for (int i = 0; i < kAhead<N>; ++i)
      held[i] =
          load_part<T, N>(place, values + (token + i) * arguments.row_stride, slots.slots[i] >= 0);
#pragma unroll
    for (int i = 0; i < kAhead<N>; ++i) {
      if (slots.slots[i] < 0) continue;
      const int64_t target = cache_offset(slots.slots[i], side.head, arguments.kv_heads, width);
      if constexpr (kCoded) {
        float found[Held::kElements];
        uint32_t codes[Held::kElements];
        widen_part<T, N>(held[i], found);
        coder.encode(found, arguments.rounding, codes);
        store_codes<T, N>(place, codes, static_cast<uint8_t*>(side.tensor.cache) + target);
        if (arguments.read_back)
          store_part<T, N>(place, rounded_part<T, N>(found),
                           values + (token + i) * arguments.row_stride);
        ++stored;
      } else {
        store_part<T, N>(place, held[i], static_cast<T*>(side.tensor.cache) + target);
      }
    }
  }

  if constexpr (kCounted) {
    coder.reduce_counts(lanes);
    if (place.lane > 0 || place.channels == 0) return;
    CodeCount* const counts = side.is_value ? arguments.value_counts : arguments.key_counts;
    coder.add_counts(counts[side.head], stored * width);
  }
}

template <typename T, int N, bool kCoded>
__global__ void __launch_bounds__(kHeadThreads)
    load_heads(const CacheLoadArguments<T> arguments, int lanes, int64_t tokens_per_block) {
  using Held = Part<T, N>;
  const int64_t width = arguments.head_dim;
  const Place<T, N> place(2 * arguments.kv_heads, width, lanes);
  if (place.channels == 0) return;
  const Side<T> side(arguments, place.head);
  const int64_t first = blockIdx.y * tokens_per_block;
  const int64_t last = min(first + tokens_per_block, arguments.tokens);
  T* const values = side.tensor.values + side.head * width;

  float scale[Held::kElements], zero[Held::kElements];
  if constexpr (kCoded) {
#pragma unroll
    for (int i = 0; i < Held::kElements; ++i) {
      const int channel = place.channel(i / N) + i % N;
      if (channel >= place.channels) continue;
      scale[i] = __ldg(side.tensor.scale + side.head * width + channel);
      zero[i] = __ldg(side.tensor.zero + side.head * width + channel);
    }
  }

  for (int64_t token = first; token < last; token += kAhead<N>) {
    const Slots<kAhead<N>> slots(arguments.slots, token, last);
    Held held[kAhead<N>];
    LoadedCodes<T, N> codes[kAhead<N>];
#pragma unroll
    for (int i = 0; i < kAhead<N>; ++i) {
      if (slots.slots[i] < 0) continue;
      const int64_t source = cache_offset(slots.slots[i], side.head, arguments.kv_heads, width);
      if constexpr (kCoded)
        codes[i].load(place, static_cast<const uint8_t*>(side.tensor.cache) + source);
      else
        held[i] = load_part<T, N>(place, static_cast<const T*>(side.tensor.cache) + source, true);
    }
#pragma unroll
    for (int i = 0; i < kAhead<N>; ++i) {
      if (slots.slots[i] < 0) continue;
      if constexpr (kCoded) {
        float found[Held::kElements];
#pragma unroll
        for (int element = 0; element < Held::kElements; ++element)
          found[element] =
              __fadd_rn(__fmul_rn(codes[i].code(element), scale[element]), zero[element]);
        held[i] = rounded_part<T, N>(found);
      }
      store_part<T, N>(place, held[i], values + (token + i) * arguments.row_stride);
    }
  }
}

template <int N, typename Arguments>
HeadGrid grid_of(const Arguments& arguments) {
  return head_grid<N>(2 * arguments.kv_heads, arguments.head_dim, arguments.tokens, kEnoughBlocks,
                      "cache_store, cache_load: fewer heads");
}

template <typename T, int N, bool kCoded, bool kCounted>
void launch_store(const CacheStoreArguments<T>& arguments, Stream stream) {
  const HeadGrid grid = grid_of<N>(arguments);
  store_heads<T, N, kCoded, kCounted>
      <<<grid.blocks, grid.threads, 0, stream>>>(arguments, grid.lanes, grid.tokens_per_block);
  CUDA_CHECK(cudaGetLastError());
}

template <typename T, int N, bool kCoded>
void launch_load(const CacheLoadArguments<T>& arguments, Stream stream) {
  const HeadGrid grid = grid_of<N>(arguments);
  load_heads<T, N, kCoded>
      <<<grid.blocks, grid.threads, 0, stream>>>(arguments, grid.lanes, grid.tokens_per_block);
  CUDA_CHECK(cudaGetLastError());
}

// Whether all is cut into chunks of N elements.
template <int N, typename Arguments>
bool chunked(const Arguments& arguments) {
  return arguments.head_dim % N == 0 && arguments.row_stride % N == 0 &&
         chunk_aligned(arguments.keys.values) && chunk_aligned(arguments.keys.cache) &&
         chunk_aligned(arguments.values.values) && chunk_aligned(arguments.values.cache);
}

template <typename T, int N>
void store(const CacheStoreArguments<T>& arguments, Stream stream) {
  if (!arguments.codes)
    launch_store<T, N, false, false>(arguments, stream);
  else if (arguments.key_counts == nullptr)
    launch_store<T, N, true, false>(arguments, stream);
  else
    launch_store<T, N, true, true>(arguments, stream);
}

template <typename T, int N>
void load(const CacheLoadArguments<T>& arguments, Stream stream) {
  if (arguments.codes)
    launch_load<T, N, true>(arguments, stream);
  else
    launch_load<T, N, false>(arguments, stream);
}

}  // namespace

template <typename T>
void cache_store(const CacheStoreArguments<T>& arguments, Stream stream) {
  arguments.check();
  if (arguments.tokens == 0) return;
  if (chunked<kChunkElements<T>>(arguments))
    store<T, kChunkElements<T>>(arguments, stream);
  else
    store<T, 1>(arguments, stream);
}

template <typename T>
void cache_load(const CacheLoadArguments<T>& arguments, Stream stream) {
  arguments.check();
  if (arguments.tokens == 0) return;
  if (chunked<kChunkElements<T>>(arguments))
    load<T, kChunkElements<T>>(arguments, stream);
  else
    load<T, 1>(arguments, stream);
}

template void cache_store(const CacheStoreArguments<Half>&, Stream);
template void cache_store(const CacheStoreArguments<Bfloat16>&, Stream);
template void cache_load(const CacheLoadArguments<Half>&, Stream);
template void cache_load(const CacheLoadArguments<Bfloat16>&, Stream);

}  // namespace kvcalib::kernels
