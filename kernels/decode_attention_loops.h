// SPDX-License-Identifier: Apache-2.0
#pragma once

// Part of every instruction_set_*.cpp, each compiled for other processors; in an unnamed namespace,
// so that the linker cannot take one processor's copy for another's.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/decode_attention.h"
#include "kernels/exponential.h"
#include "kernels/row_loops.h"

namespace kvcalib::kernels::cpu {
namespace {

// The query heads of one kv head of one sequence, a block of keys after the other, with a running
// maximum and sum.
class DecodeAttentionLoops {
 public:
  static void run(const DecodeAttentionArguments<float>& arguments, int64_t first_task,
                  int64_t last_task, const RowLoops& rows) {
    const int64_t kv_heads = arguments.cache.kv_heads;
    for (int64_t task = first_task; task < last_task; ++task) {
      const int64_t group = arguments.heads / kv_heads;
      for (int64_t first = 0; first < group; first += kQueries)
        DecodeAttentionLoops(arguments, rows, task / kv_heads, task % kv_heads, first,
                             std::min(kQueries, group - first))
            .run();
    }
  }

 private:
  static constexpr int64_t kQueries = 8;  // that share a reading of the cache
  static constexpr int64_t kLongest = 256, kLanes = 16;
  static constexpr float kUnseen = -std::numeric_limits<float>::infinity();

  DecodeAttentionLoops(const DecodeAttentionArguments<float>& arguments, const RowLoops& rows,
                       int64_t row, int64_t kv_head, int64_t first, int64_t queries)
      : arguments_(arguments),
        cache_(arguments.cache),
        loops_(cache_.type == CacheType::kHalf ? rows.half_cache : rows.bfloat16_cache),
        row_(row),
        kv_head_(kv_head),
        queries_(queries),
        width_(cache_.head_dim),
        keys_(arguments.keys[row]),
        scale_(1.0f / std::sqrt(static_cast<float>(width_))) {
    const int64_t head = kv_head * (arguments.heads / cache_.kv_heads) + first;
    q_ = arguments.queries + row * arguments.query_stride + head * width_;
    out_ = arguments.out + row * arguments.out_stride + head * width_;
  }

  void run() {
    for (int64_t query = 0; query < queries_; ++query) {
      maximum_[query] = kUnseen;
      sum_[query] = 0.0f;
      std::fill_n(out_ + query * width_, width_, 0.0f);
    }
    const int64_t window = arguments_.sliding_window;
    const int64_t first = window > 0 ? std::max<int64_t>(0, keys_ - window) : 0;
    for (int64_t block = first / kCacheBlockTokens * kCacheBlockTokens; block < keys_;
         block += kCacheBlockTokens)
      attend(block, std::max(first, block), std::min(block + kCacheBlockTokens, keys_));
    for (int64_t query = 0; query < queries_; ++query)
      for (int64_t i = 0; i < width_; ++i) out_[query * width_ + i] /= sum_[query];
  }

  // Keys [first, last) of the block that begins with key `block`.
  void attend(int64_t block, int64_t first, int64_t last) {
    const int64_t number =
        arguments_.tables[row_ * arguments_.table_stride + block / kCacheBlockTokens];
    const int64_t offset = cache_.offset(number * kCacheBlockTokens, kv_head_);
    float held[kLongest];
    for (int64_t key = first; key < last; ++key) {
      const float* const values =
          read(cache_.keys, arguments_.own_keys, offset, key, key - block, held);
      for (int64_t query = 0; query < queries_; ++query)
        scores_[query][key - first] = scale_ * dot(q_ + query * width_, values, width_);
    }
    for (int64_t query = 0; query < queries_; ++query) weigh(query, last - first);
    for (int64_t key = first; key < last; ++key) {
      const float* const values =
          read(cache_.values, arguments_.own_values, offset, key, key - block, held);
      for (int64_t query = 0; query < queries_; ++query)
        add(scores_[query][key - first], values, out_ + query * width_, width_);
    }
  }

  // A key or value of the sequence; `held` has room for it.
  const float* read(const PagedTensor& tensor, const float* own, int64_t offset, int64_t key,
                    int64_t place, float* held) const {
    const int64_t channel = kv_head_ * width_;
    if (own != nullptr && key + 1 == keys_) return own + row_ * arguments_.own_stride + channel;
    const int64_t at = offset + place * width_;
    if (!tensor.holds_codes()) return static_cast<const float*>(tensor.elements) + at;
    loops_.decode(static_cast<const uint8_t*>(tensor.elements) + at, tensor.scale + channel,
                  tensor.zero + channel, width_, held);
    return held;
  }

  // Makes weights of the scores of so many keys, beside which what is summed up already counts
  // less.
  void weigh(int64_t query, int64_t count) {
    float* const scores = scores_[query];
    float largest = maximum_[query];
    for (int64_t i = 0; i < count; ++i) largest = scores[i] > largest ? scores[i] : largest;
    const float factor = maximum_[query] == kUnseen ? 0.0f : probability(maximum_[query] - largest);
    float sum = sum_[query] * factor;
    for (int64_t i = 0; i < count; ++i) scores[i] = probability(scores[i] - largest);
    for (int64_t i = 0; i < count; ++i) sum += scores[i];
    float* const out = out_ + query * width_;
    for (int64_t i = 0; i < width_; ++i) out[i] *= factor;
    maximum_[query] = largest;
    sum_[query] = sum;
  }

  static float dot(const float* __restrict__ left, const float* __restrict__ right, int64_t width) {
    float lanes[kLanes] = {};
    const int64_t whole = width / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes)
      for (int64_t lane = 0; lane < kLanes; ++lane) lanes[lane] += left[i + lane] * right[i + lane];
    for (int64_t i = whole; i < width; ++i) lanes[i - whole] += left[i] * right[i];
    for (int64_t half = kLanes / 2; half > 0; half /= 2)
      for (int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    return lanes[0];
  }

  static void add(float weight, const float* __restrict__ values, float* __restrict__ out,
                  int64_t width) {
    for (int64_t i = 0; i < width; ++i) out[i] += weight * values[i];
  }

  const DecodeAttentionArguments<float>& arguments_;
  const PagedCache& cache_;
  const CacheLoops& loops_;
  const int64_t row_, kv_head_, queries_, width_, keys_;
  const float scale_;
  const float* q_ = nullptr;
  float* out_ = nullptr;
  float maximum_[kQueries] = {}, sum_[kQueries] = {};
  float scores_[kQueries][kCacheBlockTokens];
};

}  // namespace
}  // namespace kvcalib::kernels::cpu
