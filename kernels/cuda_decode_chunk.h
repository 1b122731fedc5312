// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>

#include "kernels/cuda_decode_shared.h"

namespace kvcalib::kernels {

// A chunk of one row's keys, for the queries of one kv head: all of them, or a pass of kQueries.
template <typename T, typename Stored, int kQueries>
class ChunkAttention {
 public:
  __device__ ChunkAttention(const DecodeAttentionArguments<T>& arguments, const TileLayout& layout,
                            int64_t group, char* memory, const SeenKeys& seen, int64_t row,
                            int64_t kv_head, int64_t pass, int64_t chunk)
      : arguments_(arguments),
        layout_(layout),
        shared_(memory, layout, sizeof(Stored)),
        copy_place_(layout),
        split_(static_cast<int>(threadIdx.x) / layout.fours),
        four_(static_cast<int>(threadIdx.x) % layout.fours),
        row_(row),
        kv_head_(kv_head),
        first_head_(kv_head * group + pass * kQueries),
        queries_(static_cast<int>(min(group - pass * kQueries, int64_t{kQueries}))),
        first_key_(chunk * kChunkKeys),
        own_(arguments.own_keys != nullptr && chunk == seen.last_chunk()) {
    const int64_t cached = seen.count - (arguments.own_keys != nullptr ? 1 : 0);
    first_ = static_cast<int>(max(seen.first - first_key_, int64_t{0}));
    last_ = static_cast<int>(min(cached - first_key_, int64_t{kChunkKeys}));
    first_tile_ = first_ / kTileKeys;
    tiles_ = first_ < last_ ? (last_ + kTileKeys - 1) / kTileKeys - first_tile_ : 0;
  }

  // Tiles of K and then of V come through shared memory, the next ones on their way.
  __device__ void run() {
    for (int step = 0; step < layout_.stages - 1; ++step) start_copy(step);
    load_queries();
    for (int step = 0; step < 2 * tiles_; ++step) {
      if (layout_.stages == 3)
        __pipeline_wait_prior(1);
      else
        __pipeline_wait_prior(0);
      __syncthreads();
      start_copy(step + layout_.stages - 1);
      if (step < tiles_) {
        score(step);
      } else {
        if (step == tiles_) weigh();
        attend(step);
      }
      read_stage_ = next(read_stage_);
    }
    if (tiles_ == 0) {
      __syncthreads();
      weigh();
    }
    __syncthreads();
    share_sums();
    __syncthreads();
  }

  // The result, or of one chunk of several what it leaves for the others.
  __device__ void store() {
    const int width = layout_.head_dim;
    for (int i = threadIdx.x; i < queries_ * width; i += kDecodeThreads) {
      const int g = i / width, channel = i % width;
      const float weights = shared_.sums[g] + own_weight(g);
      arguments_.out[row_ * arguments_.out_stride + (first_head_ + g) * width + channel] =
          from_float<T>(attended(g, channel) / weights);
    }
  }

  __device__ void store(const Partials& partials, int64_t place) {
    const int width = layout_.head_dim;
    const int64_t query = row_ * arguments_.heads + first_head_;
    for (int i = threadIdx.x; i < queries_ * width; i += kDecodeThreads) {
      const int g = i / width, channel = i % width;
      partials.attended(query + g, place)[channel] = attended(g, channel);
    }
    if (threadIdx.x < queries_) {
      const int g = threadIdx.x;
      partials.maximum(query + g, place) = shared_.maxima[g];
      partials.weights(query + g, place) = shared_.sums[g] + own_weight(g);
    }
  }

 private:
  static constexpr bool kCoded = sizeof(Stored) == 1;
  static constexpr int kUnitElements = kUnitBytes / static_cast<int>(sizeof(Stored));

  __device__ int next(int stage) const { return stage + 1 == layout_.stages ? 0 : stage + 1; }
  __device__ char* stage(int stage) const { return shared_.tiles + stage * layout_.tile_bytes(); }

  // Of a step's tile, which is one of K and then one of V.
  __device__ int tile(int step) const {
    return first_tile_ + (step < tiles_ ? step : step - tiles_);
  }
  __device__ int first_row(int step) const { return max(first_ - tile(step) * kTileKeys, 0); }
  __device__ int last_row(int step) const { return min(last_ - tile(step) * kTileKeys, kTileKeys); }

  __device__ void start_copy(int step) {
    if (step < 2 * tiles_) {
      const CacheSource& source = step < tiles_ ? arguments_.key_cache : arguments_.value_cache;
      const int64_t entry = first_key_ / kBlockTokens + tile(step);
      const int64_t block = __ldg(arguments_.block_tables + row_ * arguments_.table_stride + entry);
      const int64_t place =
          cache_offset(block * kBlockTokens, kv_head_, arguments_.kv_heads, arguments_.head_dim);
      copy_tile(layout_, copy_place_, static_cast<const Stored*>(source.cache) + place,
                first_row(step), last_row(step), stage(copy_stage_));
      copy_stage_ = next(copy_stage_);
    }
    __pipeline_commit();  // of nothing too: steps are counted by it
  }

  __device__ float query(int g, int channel) const {
    const float factor = rsqrtf(static_cast<float>(layout_.head_dim));
    const T* const queries = arguments_.queries + row_ * arguments_.query_stride;
    return to_float(queries[(first_head_ + g) * layout_.head_dim + channel]) * factor;
  }

  // Codes: q (code scale + zero) = (q scale) code + q zero.
  __device__ void load_queries() {
    const int filled = layout_.units * kUnitElements, width = layout_.head_dim;
    const float* const scale = arguments_.key_cache.scale + (kCoded ? kv_head_ * width : 0);
    const float* const zero = arguments_.key_cache.zero + (kCoded ? kv_head_ * width : 0);
    const T* const own =
        own_ ? arguments_.own_keys + row_ * arguments_.own_stride + kv_head_ * width : nullptr;
    for (int channel = threadIdx.x; channel < filled; channel += kDecodeThreads) {
      const bool exists = channel < width;
      const float step = kCoded && exists ? __ldg(scale + channel) : 1.0f;
#pragma unroll
      for (int g = 0; g < kQueries; ++g)
        shared_.queries[channel * kQueries + g] =
            exists && g < queries_ ? query(g, channel) * step : 0.0f;
    }
    for (int g = threadIdx.x / 32; g < kQueries; g += kDecodeWarps) {
      float constant = 0.0f, own_score = 0.0f;
      for (int channel = threadIdx.x % 32; channel < width && g < queries_; channel += 32) {
        const float value = query(g, channel);
        if (kCoded) constant = fmaf(value, __ldg(zero + channel), constant);
        if (own_) own_score = fmaf(value, to_float(own[channel]), own_score);
      }
      constant = warp_sum(constant);
      own_score = warp_sum(own_score);
      if (threadIdx.x % 32 == 0) {
        shared_.constants[g] = constant;
        shared_.own_scores[g] = own_ ? own_score : -INFINITY;
      }
    }
  }

  // A thread has a key, and a part of its channels.
  __device__ void score(int step) {
    const int key = threadIdx.x % kTileKeys, part = threadIdx.x / kTileKeys;
    if (key < first_row(step) || key >= last_row(step)) return;
    const auto* const row =
        reinterpret_cast<const uint4*>(stage(read_stage_)) + key * layout_.pitch;
    const int first = part * layout_.units / kScoreParts,
              last = (part + 1) * layout_.units / kScoreParts;
    float sums[kQueries] = {};
    for (int unit = first; unit < last; ++unit) {
      const uint4 raw = row[unit];
      Four<Stored> fours[kUnitElements / 4];
      memcpy(fours, &raw, sizeof(raw));
#pragma unroll
      for (int four = 0; four < kUnitElements / 4; ++four) {
        float values[4], weights[4 * kQueries];
        widen<Stored>(fours[four], values);
        load_floats(shared_.queries + (unit * kUnitElements + four * 4) * kQueries, weights);
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
          for (int g = 0; g < kQueries; ++g)
            sums[g] = fmaf(values[i], weights[i * kQueries + g], sums[g]);
      }
    }
    float* const scores =
        shared_.scores + (part * kChunkKeys + tile(step) * kTileKeys + key) * kQueries;
#pragma unroll
    for (int g = 0; g < kQueries; ++g) scores[g] = sums[g];
  }

  // The maximum or the sum of all threads' values, of each query.
  template <typename OfWarp, typename OfTwo>
  __device__ void reduce(float (&values)[kQueries], OfWarp of_warp, OfTwo of_two) {
#pragma unroll
    for (int g = 0; g < kQueries; ++g) {
      const float found = of_warp(values[g]);
      if (threadIdx.x % 32 == 0) shared_.reduced[threadIdx.x / 32 * kQueries + g] = found;
    }
    __syncthreads();
#pragma unroll
    for (int g = 0; g < kQueries; ++g) {
      values[g] = shared_.reduced[g];
      for (int warp = 1; warp < kDecodeWarps; ++warp)
        values[g] = of_two(values[g], shared_.reduced[warp * kQueries + g]);
    }
    __syncthreads();
  }

  // Turns the scores into weights: a thread has two keys.
  __device__ void weigh() {
    float scores[2][kQueries], found[kQueries];
#pragma unroll
    for (int g = 0; g < kQueries; ++g) found[g] = shared_.own_scores[g];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int key = threadIdx.x + i * kDecodeThreads;
      const bool seen = first_ <= key && key < last_;
#pragma unroll
      for (int g = 0; g < kQueries; ++g) {
        const float* const parts = shared_.scores + key * kQueries + g;
        scores[i][g] = -INFINITY;
        if (seen) scores[i][g] = parts[0] + parts[kChunkKeys * kQueries] + shared_.constants[g];
        found[g] = fmaxf(found[g], scores[i][g]);
      }
    }
    reduce(found, warp_maximum, [](float left, float right) { return fmaxf(left, right); });
    float sums[kQueries] = {};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int key = threadIdx.x + i * kDecodeThreads;
      const bool seen = first_ <= key && key < last_;
#pragma unroll
      for (int g = 0; g < kQueries; ++g) {
        const float weight = seen ? expf(scores[i][g] - found[g]) : 0.0f;
        shared_.scores[key * kQueries + g] = weight;
        sums[g] += weight;
      }
    }
    reduce(sums, warp_sum, [](float left, float right) { return left + right; });
    if (threadIdx.x > 0) return;
#pragma unroll
    for (int g = 0; g < kQueries; ++g) {
      shared_.maxima[g] = found[g];
      shared_.sums[g] = sums[g];
      if (own_) shared_.own_scores[g] = expf(shared_.own_scores[g] - found[g]);
    }
  }

  // A thread has four channels of some keys.
  __device__ void attend(int step) {
    if (split_ >= layout_.splits) return;
    const int last = last_row(step), row = layout_.pitch * kUnitBytes;
    const char* const column = stage(read_stage_) + four_ * sizeof(Four<Stored>);
    const float* const all = shared_.scores + tile(step) * kTileKeys * kQueries;
#pragma unroll 4
    for (int key = first_row(step) + split_; key < last; key += layout_.splits) {
      float values[4], weights[kQueries];
      widen<Stored>(*reinterpret_cast<const Four<Stored>*>(column + key * row), values);
      load_floats(all + key * kQueries, weights);
#pragma unroll
      for (int g = 0; g < kQueries; ++g)
#pragma unroll
        for (int i = 0; i < 4; ++i) sums_[g][i] = fmaf(weights[g], values[i], sums_[g][i]);
    }
  }

  // [splits, kQueries, fours] in the place of the tiles.
  __device__ void share_sums() {
    if (split_ >= layout_.splits) return;
    float4* const shared = reinterpret_cast<float4*>(shared_.tiles);
#pragma unroll
    for (int g = 0; g < kQueries; ++g)
      shared[(split_ * kQueries + g) * layout_.fours + four_] =
          make_float4(sums_[g][0], sums_[g][1], sums_[g][2], sums_[g][3]);
  }

  __device__ float own_weight(int g) const { return own_ ? shared_.own_scores[g] : 0.0f; }

  // Codes: sum of p (code scale + zero) = (sum of p code) scale + (sum of p) zero.
  __device__ float attended(int g, int channel) const {
    const float* const shared = reinterpret_cast<const float*>(shared_.tiles);
    float sum = 0.0f;
    for (int split = 0; split < layout_.splits; ++split)
      sum += shared[(split * kQueries + g) * layout_.fours * 4 + channel];
    const int64_t column = kv_head_ * layout_.head_dim + channel;
    if (kCoded)
      sum = fmaf(sum, __ldg(arguments_.value_cache.scale + column),
                 shared_.sums[g] * __ldg(arguments_.value_cache.zero + column));
    if (own_)
      sum = fmaf(shared_.own_scores[g],
                 to_float(arguments_.own_values[row_ * arguments_.own_stride + column]), sum);
    return sum;
  }

  const DecodeAttentionArguments<T>& arguments_;
  const TileLayout& layout_;
  const Shared<kQueries> shared_;
  const CopyPlace copy_place_;
  const int split_, four_;  // this thread's, in attend
  const int64_t row_, kv_head_, first_head_;
  const int queries_;        // that there are
  const int64_t first_key_;  // of the chunk
  const bool own_;           // the newest key is in this chunk, and not in the cache
  int first_, last_;         // keys that are seen, of the chunk's
  int first_tile_, tiles_;   // that hold them
  int copy_stage_ = 0, read_stage_ = 0;
  float sums_[kQueries][4] = {};
};

}  // namespace kvcalib::kernels
