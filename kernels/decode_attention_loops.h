// SPDX-License-Identifier: Apache-2.0
#pragma once

// Part of every instruction_set_*.cpp, each compiled for other processors; in an unnamed namespace,
// so that the linker cannot take one processor's copy for another's.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/decode_attention.h"
#include "kernels/exponential.h"
#include "kernels/float_lanes.h"
#include "kernels/row_loops.h"

namespace kvcalib::kernels::cpu {
namespace {

// The queries of one kv head of one row.  Blocks of keys come one after the other, codes as what is
// read back of them, with a running maximum and sum, as in causal_attention.
template <int kVector>
class DecodeAttentionLoops {
 public:
  static void run(const DecodeAttentionArguments<float>& arguments, int64_t first_task,
                  int64_t last_task, const CacheLoops& loops) {
    for (int64_t task = first_task; task < last_task; ++task)
      DecodeAttentionLoops(arguments, loops, task / arguments.kv_heads, task % arguments.kv_heads)
          .run();
  }

 private:
  using Lanes = FloatLanes<kVector>;
  static constexpr int64_t kLanes = kFloatLanes, kKeys = kBlockTokens;
  static_assert(kHeadUnit % kLanes == 0);
  static constexpr int kTogether = 4;  // queries whose sums fit registers
  static constexpr float kUnseen = -std::numeric_limits<float>::infinity();

  DecodeAttentionLoops(const DecodeAttentionArguments<float>& arguments, const CacheLoops& loops,
                       int64_t row, int64_t head)
      : arguments_(arguments),
        loops_(loops),
        row_(row),
        head_(head),
        width_(arguments.head_dim),
        padded_(padded_head(arguments.head_dim)),
        group_(arguments.group()),
        queries_(arguments.scratch),
        attended_(queries_ + group_ * padded_),
        scores_(attended_ + group_ * padded_),
        maxima_(scores_ + group_ * kKeys),
        sums_(maxima_ + group_),
        read_keys_(sums_ + group_),
        read_values_(read_keys_ + kKeys * width_) {}

  void run() {
    const int64_t keys = arguments_.keys[row_];
    const bool own = arguments_.own_keys != nullptr && keys > 0;
    const int64_t window = arguments_.sliding_window;
    const int64_t first = window > 0 ? std::max<int64_t>(0, keys - window) : 0;
    const int64_t last = keys - (own ? 1 : 0);
    std::fill(attended_, attended_ + group_ * padded_, 0.0f);
    std::fill(maxima_, maxima_ + group_, kUnseen);
    std::fill(sums_, sums_ + group_, 0.0f);
    load_queries();
    for (int64_t key = first / kKeys * kKeys; first < last && key < last; key += kKeys) {
      const int64_t count = std::min(last - key, kKeys);
      const float* const k = block(arguments_.key_cache, key, count, read_keys_);
      const float* const v = block(arguments_.value_cache, key, count, read_values_);
      attend(k, v, std::max<int64_t>(first - key, 0), count);
    }
    if (own) {
      const int64_t offset = row_ * arguments_.own_stride + head_ * width_;
      attend(arguments_.own_keys + offset, arguments_.own_values + offset, 0, 1);
    }
    store(keys > 0);
  }

  // The first `count` keys or values of a block; `read` has room for them.
  const float* block(const CacheSource& source, int64_t key, int64_t count, float* read) const {
    const int64_t place = arguments_.block_tables[row_ * arguments_.table_stride + key / kKeys];
    const int64_t first = cache_offset(place * kKeys, head_, arguments_.kv_heads, width_);
    if (!arguments_.codes) return static_cast<const float*>(source.cache) + first;
    const auto* const codes = static_cast<const uint8_t*>(source.cache) + first;
    for (int64_t i = 0; i < count; ++i)
      loops_.decode(codes + i * width_, source.scale + head_ * width_, source.zero + head_ * width_,
                    width_, read + i * width_);
    return read;
  }

  // Scaled, with zeros behind them.
  void load_queries() {
    const float factor = 1.0f / std::sqrt(static_cast<float>(width_));
    for (int64_t g = 0; g < group_; ++g) {
      const float* const query =
          arguments_.queries + row_ * arguments_.query_stride + (head_ * group_ + g) * width_;
      float* const loaded = queries_ + g * padded_;
      std::fill(loaded, loaded + padded_, 0.0f);
      for (int64_t i = 0; i < width_; ++i) loaded[i] = query[i] * factor;
    }
  }

  // Keys [first, last) of a block.
  void attend(const float* k, const float* v, int64_t first, int64_t last) {
    int64_t g = 0;
    for (; g + kTogether <= group_; g += kTogether) score<kTogether>(k, g, first, last);
    for (; g < group_; ++g) score<1>(k, g, first, last);
    for (g = 0; g < group_; ++g) weigh(g, first, last);
    for (g = 0; g + kTogether <= group_; g += kTogether) add<kTogether>(v, g, first, last);
    for (; g < group_; ++g) add<1>(v, g, first, last);
  }

  // The scores of some queries.
  template <int kQueries>
  void score(const float* k, int64_t g, int64_t first, int64_t last) {
    for (int64_t key = first; key < last; ++key) {
      Lanes sums[kQueries] = {};
      for (int64_t i = 0; i < width_; i += kLanes) {
        const Lanes channels = Lanes::load_some(k + key * width_ + i, width_ - i);
#pragma GCC unroll 4
        for (int q = 0; q < kQueries; ++q)
          sums[q].add_product(Lanes::load(queries_ + (g + q) * padded_ + i), channels);
      }
#pragma GCC unroll 4
      for (int q = 0; q < kQueries; ++q) scores_[(g + q) * kKeys + key] = sums[q].sum();
    }
  }

  // Turns the scores of a query into the weights of the values, and shrinks what was attended
  // before.
  void weigh(int64_t g, int64_t first, int64_t last) {
    float* const scores = scores_ + g * kKeys;
    std::fill(scores, scores + first, kUnseen);
    std::fill(scores + last, scores + kKeys, kUnseen);
    float maximum = maxima_[g];
    for (int64_t key = first; key < last; ++key) maximum = std::max(maximum, scores[key]);
    float sums[kLanes] = {};
    for (int64_t key = 0; key < kKeys; key += kLanes) {
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        scores[key + lane] = exponential(scores[key + lane] - maximum);
        sums[lane] += scores[key + lane];
      }
    }
    for (int64_t half = kLanes / 2; half > 0; half /= 2)
      for (int64_t lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
    const float factor = exponential(maxima_[g] - maximum);
    maxima_[g] = maximum;
    sums_[g] = sums_[g] * factor + sums[0];
    float* const attended = attended_ + g * padded_;
    for (int64_t i = 0; i < padded_; ++i) attended[i] *= factor;
  }

  // Adds the weighted values to what some queries attended.
  template <int kQueries>
  void add(const float* v, int64_t g, int64_t first, int64_t last) {
    constexpr int kColumns = kQueries == 1 ? 4 : 2;  // enough sums to hide what each waits for
    int64_t i = 0;
    for (; i + kColumns * kLanes <= width_; i += kColumns * kLanes)
      add_columns<kQueries, kColumns>(v, g, first, last, i);
    for (; i < width_; i += kLanes) add_columns<kQueries, 1>(v, g, first, last, i);
  }

  template <int kQueries, int kColumns>
  void add_columns(const float* v, int64_t g, int64_t first, int64_t last, int64_t channel) {
    Lanes sums[kQueries][kColumns] = {};
    for (int64_t key = first; key < last; ++key) {
#pragma GCC unroll 4
      for (int column = 0; column < kColumns; ++column) {
        const int64_t i = channel + column * kLanes;
        const Lanes channels = kColumns == 1 ? Lanes::load_some(v + key * width_ + i, width_ - i)
                                             : Lanes::load(v + key * width_ + i);
#pragma GCC unroll 4
        for (int q = 0; q < kQueries; ++q)
          sums[q][column].add_product(scores_[(g + q) * kKeys + key], channels);
      }
    }
    for (int q = 0; q < kQueries; ++q) {
      for (int column = 0; column < kColumns; ++column) {
        float* const attended = attended_ + (g + q) * padded_ + channel + column * kLanes;
        sums[q][column].add(Lanes::load(attended));
        sums[q][column].store(attended);
      }
    }
  }

  void store(bool any) {
    for (int64_t g = 0; g < group_; ++g) {
      float* const out =
          arguments_.out + row_ * arguments_.out_stride + (head_ * group_ + g) * width_;
      const float* const attended = attended_ + g * padded_;
      for (int64_t i = 0; i < width_; ++i) out[i] = any ? attended[i] / sums_[g] : 0.0f;
    }
  }

  const DecodeAttentionArguments<float>& arguments_;
  const CacheLoops& loops_;
  const int64_t row_, head_, width_, padded_, group_;
  float* const queries_;               // [group, padded]
  float* const attended_;              // [group, padded], weighted by exp(score - maximum)
  float* const scores_;                // [group, kKeys]
  float *const maxima_, *const sums_;  // [group], of the scores and weights so far
  float *const read_keys_, *const read_values_;  // [kKeys, head_dim], of codes
};

}  // namespace
}  // namespace kvcalib::kernels::cpu
