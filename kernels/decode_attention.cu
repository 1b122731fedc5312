// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cfloat>
#include <type_traits>

#include "kernels/cuda_check.h"
#include "kernels/cuda_chunk.h"
#include "kernels/decode_attention.h"

namespace kvcalib::kernels {
namespace {

constexpr int kWarp = 32, kWarps = 4, kThreads = kWarp * kWarps;
constexpr int kBlockKeys = static_cast<int>(kCacheBlockTokens);  // of a warp
static_assert(kWarps * kBlockKeys == kChunkKeys);
constexpr int kLongestHead = 256;
constexpr unsigned kWholeWarp = 0xffffffffu;
constexpr float kLog2OfE = 1.4426950408889634f;
constexpr float kUnseen = -INFINITY;
// Accesses that a thread has under way.
template <bool kCodes>
constexpr int kAhead = kCodes ? 8 : 4;

// Elements of one access of 16 bytes.
template <typename T, bool kCodes>
constexpr int kWide = kCodes ? kChunkBytes : kChunkElements<T>;

template <typename T, bool kCodes>
__device__ inline void widen(const uint4& raw, float (&values)[kWide<T, kCodes>]) {
  if constexpr (kCodes) {
    // A byte as the low bits of 2^23.
    constexpr uint32_t kExponent = 0x4b000000u;
    constexpr float kBias = 8388608.0f + kCodeOffset;
    const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
    for (int i = 0; i < kWide<T, kCodes>; ++i)
      values[i] = __uint_as_float(__byte_perm(words[i / 4], kExponent, 0x7440 + i % 4)) - kBias;
  } else {
    Chunk<T, kWide<T, kCodes>> chunk;
    memcpy(&chunk, &raw, sizeof raw);
#pragma unroll
    for (int i = 0; i < kWide<T, kCodes>; ++i) values[i] = to_float(chunk.values[i]);
  }
}

__device__ inline float largest_of_warp(float value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    value = fmaxf(value, __shfl_xor_sync(kWholeWarp, value, offset));
  return value;
}

__device__ inline float sum_of_warp(float value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    value += __shfl_xor_sync(kWholeWarp, value, offset);
  return value;
}

// What the warps of a block found of some queries, before it is put together.
template <int kQueries>
struct Found {
  float scores[kWarps][kQueries][kBlockKeys];
  float maximum[kWarps][kQueries], sum[kWarps][kQueries];
  float attended[kWarps][kQueries][kLongestHead];
};

// A sequence's keys: [first, count) are seen.
struct Seen {
  int first, count;

  template <typename T>
  __device__ Seen(const DecodeAttentionArguments<T>& arguments, int64_t row) {
    count = __ldg(arguments.keys + row);
    const auto window = static_cast<int>(arguments.sliding_window);
    first = window > 0 && window < count ? count - window : 0;
  }
  __device__ bool has(int key) const { return first <= key && key < count; }
  __device__ bool reaches(int begin, int keys) const {
    return begin < count && begin + keys > first;
  }
};

// One warp with a block of keys of one kv head.  kLanes neighbouring threads have a key, an access
// each.
template <typename T, bool kCodes, int kQueries, int kLanes>
class WarpAttention {
 public:
  static constexpr int kElements = kWide<T, kCodes>;
  static constexpr int kKeys = kWarp / kLanes;  // of one access
  static constexpr int kUnderWay = kAhead<kCodes>;
  static_assert(kBlockKeys % (kUnderWay * kKeys) == 0);

  __device__ WarpAttention(const DecodeAttentionArguments<T>& arguments, int64_t row,
                           int64_t kv_head, int first_key, const Seen& seen)
      : arguments_(arguments),
        lane_(threadIdx.x % kWarp),
        channel_(lane_ % kLanes * kElements),
        row_(row),
        kv_head_(kv_head),
        first_key_(first_key),
        seen_(seen) {
    const PagedCache& cache = arguments.cache;
    exists_ = channel_ < cache.head_dim;
    const int64_t block =
        __ldg(arguments.tables + row * arguments.table_stride + first_key / kBlockKeys);
    offset_ = (block * cache.kv_heads + kv_head) * kBlockKeys * cache.head_dim + channel_;
    column_ = kv_head * cache.head_dim + channel_;
    own_key_ = arguments.own_keys != nullptr ? seen.count - 1 : -1;
  }

  // Of query heads [first, first + kQueries), of which `count` exist.
  __device__ void attend(int64_t first, int count, Found<kQueries>& found) {
    load_queries(first, count);
    const int warp = static_cast<int>(threadIdx.x) / kWarp;
    float(&scores)[kQueries][kBlockKeys] = found.scores[warp];
    find_scores(scores);
    __syncwarp();
#pragma unroll
    for (int query = 0; query < kQueries; ++query) {
      const float low = scores[query][lane_], high = scores[query][lane_ + kWarp];
      const float largest = largest_of_warp(fmaxf(low, high));
      const float base = largest == kUnseen ? 0.0f : largest;
      const float low_weight = exp2f(low - base), high_weight = exp2f(high - base);
      scores[query][lane_] = low_weight;
      scores[query][lane_ + kWarp] = high_weight;
      const float sum = sum_of_warp(low_weight + high_weight);
      if (lane_ == 0) {
        found.maximum[warp][query] = largest;
        found.sum[warp][query] = sum;
      }
    }
    __syncwarp();
    add_values(scores, found.attended[warp]);
  }

 private:
  __device__ uint4 load(const PagedTensor& tensor, int place) const {
    const int key = first_key_ + place;
    if (!exists_ || !seen_.has(key) || key == own_key_) return make_uint4(0, 0, 0, 0);
    const int64_t at = offset_ + place * arguments_.cache.head_dim;
    if constexpr (kCodes)
      return __ldg(
          reinterpret_cast<const uint4*>(static_cast<const uint8_t*>(tensor.elements) + at));
    else
      return __ldg(reinterpret_cast<const uint4*>(static_cast<const T*>(tensor.elements) + at));
  }

  // Scaled so that scores are exponents of two; of codes by their scales too, and their zeros
  // apart.
  __device__ void load_queries(int64_t first, int count) {
    const PagedCache& cache = arguments_.cache;
    const float scale = rsqrtf(static_cast<float>(cache.head_dim)) * kLog2OfE;
#pragma unroll
    for (int query = 0; query < kQueries; ++query) {
      const T* const source = arguments_.queries + row_ * arguments_.query_stride +
                              (first + query) * cache.head_dim + channel_;
      float zeros = 0.0f;
#pragma unroll
      for (int i = 0; i < kElements; ++i) {
        float value = exists_ && query < count ? scale * to_float(source[i]) : 0.0f;
        if constexpr (kCodes) {
          if (exists_) {
            zeros += value * __ldg(cache.keys.zero + column_ + i);
            value *= __ldg(cache.keys.scale + column_ + i);
          }
        }
        queries_[query][i] = value;
      }
      if constexpr (kCodes)

#pragma unroll
        for (int offset = kLanes / 2; offset > 0; offset /= 2)
          zeros += __shfl_xor_sync(kWholeWarp, zeros, offset);
      zeros_[query] = zeros;
    }
  }

  __device__ void find_scores(float (&scores)[kQueries][kBlockKeys]) const {
    for (int first = 0; first < kBlockKeys; first += kUnderWay * kKeys) {
      uint4 raw[kUnderWay];
#pragma unroll
      for (int ahead = 0; ahead < kUnderWay; ++ahead)
        raw[ahead] = load(arguments_.cache.keys, first + ahead * kKeys + lane_ / kLanes);
#pragma unroll
      for (int ahead = 0; ahead < kUnderWay; ++ahead) {
        const int place = first + ahead * kKeys + lane_ / kLanes;
        float values[kElements];
        widen<T, kCodes>(raw[ahead], values);
#pragma unroll
        for (int query = 0; query < kQueries; ++query) {
          float sum = 0.0f;
#pragma unroll
          for (int i = 0; i < kElements; ++i) sum = fmaf(queries_[query][i], values[i], sum);

#pragma unroll
          for (int offset = kLanes / 2; offset > 0; offset /= 2)
            sum += __shfl_xor_sync(kWholeWarp, sum, offset);
          if (lane_ % kLanes == 0)
            scores[query][place] = seen_.has(first_key_ + place) ? sum + zeros_[query] : kUnseen;
        }
      }
    }
    add_own_score(scores);
  }

  __device__ bool has_own() const {
    return own_key_ >= first_key_ && own_key_ < first_key_ + kBlockKeys;
  }

  // The newest key as it is: queries without the scales of codes.
  __device__ void add_own_score(float (&scores)[kQueries][kBlockKeys]) const {
    if (!has_own()) return;
    __syncwarp();
    const PagedCache& cache = arguments_.cache;
    const T* const key = arguments_.own_keys + row_ * arguments_.own_stride + column_;
#pragma unroll
    for (int query = 0; query < kQueries; ++query) {
      float sum = 0.0f;
#pragma unroll
      for (int i = 0; i < kElements; ++i) {
        if (!exists_) continue;
        float value = queries_[query][i];
        if constexpr (kCodes) value /= __ldg(cache.keys.scale + column_ + i);
        sum = fmaf(value, to_float(key[i]), sum);
      }

#pragma unroll
      for (int offset = kLanes / 2; offset > 0; offset /= 2)
        sum += __shfl_xor_sync(kWholeWarp, sum, offset);
      if (lane_ == 0) scores[query][own_key_ - first_key_] = sum;
    }
  }

  __device__ void add_values(const float (&weights)[kQueries][kBlockKeys],
                             float (&attended)[kQueries][kLongestHead]) const {
    float sums[kQueries][kElements] = {};
    for (int first = 0; first < kBlockKeys; first += kUnderWay * kKeys) {
      uint4 raw[kUnderWay];
#pragma unroll
      for (int ahead = 0; ahead < kUnderWay; ++ahead)
        raw[ahead] = load(arguments_.cache.values, first + ahead * kKeys + lane_ / kLanes);
#pragma unroll
      for (int ahead = 0; ahead < kUnderWay; ++ahead) {
        const int place = first + ahead * kKeys + lane_ / kLanes;
        float values[kElements];
        widen<T, kCodes>(raw[ahead], values);
        const bool counts = first_key_ + place != own_key_;
#pragma unroll
        for (int query = 0; query < kQueries; ++query) {
          const float weight = counts ? weights[query][place] : 0.0f;
#pragma unroll
          for (int i = 0; i < kElements; ++i)
            sums[query][i] = fmaf(weight, values[i], sums[query][i]);
        }
      }
    }
    finish_values(weights, sums, attended);
  }

  // Sums over the keys of the warp; of codes they get their scales, and zeros for each key.
  __device__ void finish_values(const float (&weights)[kQueries][kBlockKeys],
                                float (&sums)[kQueries][kElements],
                                float (&attended)[kQueries][kLongestHead]) const {
    const PagedCache& cache = arguments_.cache;
#pragma unroll
    for (int query = 0; query < kQueries; ++query) {
      float all = 0.0f;  // weights of codes
      if constexpr (kCodes) {
        all = weights[query][lane_] + weights[query][lane_ + kWarp];
        all = sum_of_warp(all);
        if (has_own()) all -= weights[query][own_key_ - first_key_];
      }
#pragma unroll
      for (int i = 0; i < kElements; ++i) {
        float sum = sums[query][i];

#pragma unroll
        for (int offset = kLanes; offset < kWarp; offset *= 2)
          sum += __shfl_xor_sync(kWholeWarp, sum, offset);
        if (lane_ >= kLanes || !exists_) continue;
        if constexpr (kCodes)
          sum = sum * __ldg(cache.values.scale + column_ + i) +
                all * __ldg(cache.values.zero + column_ + i);
        if (has_own())
          sum += weights[query][own_key_ - first_key_] *
                 to_float(arguments_.own_values[row_ * arguments_.own_stride + column_ + i]);
        attended[query][channel_ + i] = sum;
      }
    }
  }

  const DecodeAttentionArguments<T>& arguments_;
  const int lane_, channel_;
  const int64_t row_, kv_head_;
  const int first_key_;
  const Seen seen_;
  bool exists_;  // whether this thread has channels
  int64_t offset_, column_;
  int own_key_;  // that is not read from the cache; -1: all are
  float queries_[kQueries][kElements], zeros_[kQueries];
};

// Parts of a softmax's mean, in their order.
class Mean {
 public:
  __device__ void add(float maximum, float sum, float attended) {
    if (maximum == kUnseen) return;
    const float larger = fmaxf(maximum_, maximum);
    const float old = maximum_ == kUnseen ? 0.0f : exp2f(maximum_ - larger);
    const float factor = exp2f(maximum - larger);
    sum_ = sum_ * old + sum * factor;
    attended_ = attended_ * old + attended * factor;
    maximum_ = larger;
  }
  __device__ float maximum() const { return maximum_; }
  __device__ float sum() const { return sum_; }
  __device__ float attended() const { return attended_; }

 private:
  float maximum_ = kUnseen, sum_ = 0.0f, attended_ = 0.0f;
};

// Where a chunk's part of a query head lies in the scratch memory: its attended values, then its
// maximum and sum.
template <typename T>
__device__ inline float* part_of(const DecodeAttentionArguments<T>& arguments, int64_t row,
                                 int64_t head, int64_t chunk, int64_t chunks) {
  const int64_t index = (row * arguments.heads + head) * chunks + chunk;
  return arguments.scratch + index * (arguments.cache.head_dim + 2);
}

// A block of threads has a chunk of the keys of one kv head of one sequence.
template <typename T, bool kCodes, int kQueries, int kLanes>
__global__ void __launch_bounds__(kThreads)
    attend_chunk(const DecodeAttentionArguments<T> arguments) {
  __shared__ Found<kQueries> found;
  const int64_t row = blockIdx.z, kv_head = blockIdx.y;
  const int chunk = static_cast<int>(blockIdx.x), first_key = chunk * static_cast<int>(kChunkKeys);
  const Seen seen(arguments, row);
  if (!seen.reaches(first_key, static_cast<int>(kChunkKeys))) return;
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int own_first = first_key + warp * kBlockKeys;
  const bool has_keys = seen.reaches(own_first, kBlockKeys);
  const int64_t group = arguments.heads / arguments.cache.kv_heads;
  const int64_t head_dim = arguments.cache.head_dim;
  for (int64_t first = 0; first < group; first += kQueries) {
    const int count = static_cast<int>(min(static_cast<int64_t>(kQueries), group - first));
    const int64_t head = kv_head * group + first;
    if (has_keys) {
      WarpAttention<T, kCodes, kQueries, kLanes>(arguments, row, kv_head, own_first, seen)
          .attend(head, count, found);
    } else if (threadIdx.x % kWarp < kQueries) {
      found.maximum[warp][threadIdx.x % kWarp] = kUnseen;
    }
    __syncthreads();
    for (int64_t i = threadIdx.x; i < count * head_dim; i += kThreads) {
      const int query = static_cast<int>(i / head_dim), channel = static_cast<int>(i % head_dim);
      Mean mean;
      for (int part = 0; part < kWarps; ++part)
        mean.add(found.maximum[part][query], found.sum[part][query],
                 found.attended[part][query][channel]);
      if (gridDim.x == 1) {
        arguments.out[row * arguments.out_stride + (head + query) * head_dim + channel] =
            from_float<T>(mean.attended() / mean.sum());
        continue;
      }
      float* const part = part_of(arguments, row, head + query, chunk, gridDim.x);
      part[channel] = mean.attended();
      if (channel == 0) {
        part[head_dim] = mean.maximum();
        part[head_dim + 1] = mean.sum();
      }
    }
    __syncthreads();
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    combine_chunks(const DecodeAttentionArguments<T> arguments, int64_t chunks) {
  const int64_t row = blockIdx.y, head = blockIdx.x, head_dim = arguments.cache.head_dim;
  const Seen seen(arguments, row);
  for (int64_t channel = threadIdx.x; channel < head_dim; channel += kThreads) {
    Mean mean;
    for (int64_t chunk = seen.first / kChunkKeys; chunk * kChunkKeys < seen.count; ++chunk) {
      const float* const part = part_of(arguments, row, head, chunk, chunks);
      mean.add(part[head_dim], part[head_dim + 1], part[channel]);
    }
    arguments.out[row * arguments.out_stride + head * head_dim + channel] =
        from_float<T>(mean.attended() / mean.sum());
  }
}

template <typename T, bool kCodes, int kQueries, int kLanes>
void launch(const DecodeAttentionArguments<T>& arguments, Stream stream) {
  constexpr int64_t kMostRows = 65535;
  require(arguments.rows <= kMostRows, "decode_attention: fewer rows");
  const dim3 grid(static_cast<unsigned>(arguments.chunks()),
                  static_cast<unsigned>(arguments.cache.kv_heads),
                  static_cast<unsigned>(arguments.rows));
  attend_chunk<T, kCodes, kQueries, kLanes><<<grid, kThreads, 0, stream>>>(arguments);
  CUDA_CHECK(cudaGetLastError());
  if (arguments.chunks() == 1) return;
  const dim3 heads(static_cast<unsigned>(arguments.heads), static_cast<unsigned>(arguments.rows));
  combine_chunks<T><<<heads, kThreads, 0, stream>>>(arguments, arguments.chunks());
  CUDA_CHECK(cudaGetLastError());
}

template <typename T, bool kCodes, int kQueries>
void launch_lanes(const DecodeAttentionArguments<T>& arguments, Stream stream) {
  constexpr int kOfShortHeads = 64 / kWide<T, kCodes>;
  const int64_t head_dim = arguments.cache.head_dim;
  if (head_dim <= 64) return launch<T, kCodes, kQueries, kOfShortHeads>(arguments, stream);
  if (head_dim <= 128) return launch<T, kCodes, kQueries, 2 * kOfShortHeads>(arguments, stream);
  launch<T, kCodes, kQueries, 4 * kOfShortHeads>(arguments, stream);
}

template <typename T, bool kCodes>
void launch_group(const DecodeAttentionArguments<T>& arguments, Stream stream) {
  if (arguments.heads == arguments.cache.kv_heads)
    return launch_lanes<T, kCodes, 1>(arguments, stream);
  launch_lanes<T, kCodes, 4>(arguments, stream);
}

}  // namespace

template <typename T>
void decode_attention(const DecodeAttentionArguments<T>& arguments, Stream stream) {
  arguments.check();
  if (arguments.rows == 0) return;
  const PagedCache& cache = arguments.cache;
  const int64_t wide = cache.holds_codes() ? kWide<T, true> : kWide<T, false>;
  require(cache.head_dim % wide == 0 && chunk_aligned(cache.keys.elements) &&
              chunk_aligned(cache.values.elements),
          "decode_attention: a head is of whole 16 bytes in the cache");
  require(arguments.chunks() == 1 || arguments.scratch != nullptr,
          "decode_attention: scratch is given");
  if (cache.holds_codes())
    launch_group<T, true>(arguments, stream);
  else
    launch_group<T, false>(arguments, stream);
}

template void decode_attention(const DecodeAttentionArguments<Half>&, Stream);
template void decode_attention(const DecodeAttentionArguments<Bfloat16>&, Stream);

}  // namespace kvcalib::kernels
