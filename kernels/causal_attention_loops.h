// SPDX-License-Identifier: Apache-2.0
#pragma once

// Part of every instruction_set_*.cpp, each compiled for other processors; in an unnamed namespace,
// so that the linker cannot take one processor's copy for another's.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/causal_attention.h"
#include "kernels/exponential.h"
#include "kernels/matrix_product_loops.h"

namespace kvcalib::kernels::cpu {
namespace {

// One head of one window.
template <int kLanes, int kRows>
class AttentionLoops {
 public:
  static void run(const CausalAttentionArguments& arguments, int64_t first_task,
                  int64_t last_task) {
    for (int64_t task = first_task; task < last_task; ++task)
      AttentionLoops(arguments, task / arguments.heads, task % arguments.heads).run();
  }

  static constexpr int64_t padded(int64_t head_dim) {
    return (head_dim + kPanel - 1) / kPanel * kPanel;
  }

 private:
  using Tile = FloatTile<kLanes, kRows>;
  using Product = MatrixProductLoops<kLanes, kRows>;
  using Finish = typename Tile::Finish;
  static constexpr int64_t kPanel = Tile::kColumns;
  static constexpr int64_t kQueries = kAttentionQueries, kKeys = kAttentionKeys;
  static constexpr int64_t kSumLanes = 16;  // lanes of a sum, whatever the width of vectors
  static constexpr float kUnseen = -std::numeric_limits<float>::infinity();
  static_assert(kQueries % kRows == 0 && kKeys % kPanel == 0 && kKeys % kSumLanes == 0);
  static_assert(kWidestPanel % kPanel == 0);

  AttentionLoops(const CausalAttentionArguments& arguments, int64_t window, int64_t head)
      : arguments_(arguments),
        query_length_(arguments.query_length),
        key_length_(arguments.key_length),
        first_position_(key_length_ - query_length_),
        head_dim_(arguments.head_dim),
        keys_seen_(arguments.sliding_window > 0 ? arguments.sliding_window : key_length_),
        scale_(1.0f / std::sqrt(static_cast<float>(head_dim_))),
        out_stride_(arguments.heads * head_dim_) {
    const int64_t kv_head = head / (arguments.heads / arguments.kv_heads);
    const int64_t key_offset = window * key_length_ * arguments.key_stride + kv_head * head_dim_;
    q_ = arguments.queries + window * query_length_ * arguments.query_stride + head * head_dim_;
    k_ = arguments.keys + key_offset;
    v_ = arguments.values + key_offset;
    out_ = arguments.out + window * query_length_ * out_stride_ + head * head_dim_;
    keys_ = arguments.scratch;
    values_ = keys_ + kKeys * head_dim_;
    queries_ = values_ + kKeys * padded(head_dim_);
    scores_ = queries_ + kQueries * head_dim_;
    attended_ = scores_ + kQueries * kKeys;
    factors_ = attended_ + kQueries * padded(head_dim_);
    maxima_ = factors_ + kQueries;
    sums_ = maxima_ + query_length_;
  }

  // Of the keys, the one of a query.
  int64_t position(int64_t query) const { return first_position_ + query; }
  int64_t first_seen(int64_t query) const {
    return std::max<int64_t>(0, position(query) - keys_seen_ + 1);
  }

  void run() {
    std::fill(maxima_, maxima_ + query_length_, kUnseen);
    std::fill(sums_, sums_ + query_length_, 0.0f);
    for (int64_t key = first_seen(0) / kKeys * kKeys; key < key_length_; key += kKeys) {
      const int64_t keys = std::min(kKeys, key_length_ - key);
      load_keys(key, keys);
      const int64_t first_query = std::max<int64_t>(0, key - first_position_);
      for (int64_t query = first_query / kQueries * kQueries; query < query_length_;
           query += kQueries) {
        if (first_seen(query) >= key + keys) break;
        attend(query, std::min(kQueries, query_length_ - query), key, keys);
      }
    }
  }

  // K as [head_dim, keys], V as [keys, head_dim], both packed; zeros beyond the last key.
  void load_keys(int64_t key, int64_t keys) {
    clear_beyond(keys);
    if (arguments_.key_runs.empty()) return load_run(key, keys, 0);
    int64_t place = 0;  // of the run's first key
    for (const KeyRun& run : arguments_.key_runs) {
      const int64_t first = std::max(place, key), last = std::min(place + run.count, key + keys);
      if (first < last) load_run(run.first + first - place, last - first, first - key);
      place += run.count;
    }
  }

  // Rows of K and V as the keys from `place` on.
  void load_run(int64_t row, int64_t keys, int64_t place) {
    const int64_t stride = arguments_.key_stride;
    Product::pack({.source = k_ + row * stride,
                   .row_stride = 1,
                   .column_stride = stride,
                   .rows = head_dim_,
                   .columns = keys,
                   .packed = keys_,
                   .depth = head_dim_,
                   .weight_columns = kKeys,
                   .first_column = place});
    Product::pack({.source = v_ + row * stride,
                   .row_stride = stride,
                   .column_stride = 1,
                   .rows = keys,
                   .columns = head_dim_,
                   .packed = values_,
                   .depth = kKeys,
                   .weight_columns = head_dim_,
                   .first_row = place});
  }

  // As far as tiles reach over the last key, whose weights are 0 there.
  void clear_beyond(int64_t keys) {
    constexpr int64_t kUnit = std::max(kPanel, kSumLanes);
    const int64_t panel = keys / kPanel * kPanel, reached = (keys + kUnit - 1) / kUnit * kUnit;
    std::fill(keys_ + panel * head_dim_, keys_ + reached * head_dim_, 0.0f);
    for (int64_t column = 0; column < head_dim_; column += kPanel) {
      float* const values = values_ + column * kKeys;
      std::fill(values + keys * kPanel, values + reached * kPanel, 0.0f);
    }
  }

  // Some queries with the keys that are loaded.
  void attend(int64_t query, int64_t queries, int64_t key, int64_t keys) {
    const int64_t reached = std::min(keys, position(query) + queries - key);
    const int64_t columns = (reached + kSumLanes - 1) / kSumLanes * kSumLanes;
    load_queries(query, queries, first_seen(query) >= key);
    for (int64_t column = 0; column < columns; column += kPanel) {
      for (int64_t row = 0; row < queries; row += kRows)
        Tile::template multiply<Finish::kStore>(queries_ + row * head_dim_, 1, kRows,
                                                keys_ + column * head_dim_, head_dim_,
                                                scores_ + row * kKeys + column, kKeys);
    }
    for (int64_t row = 0; row < queries; ++row) weigh(query, row, key, keys, columns);
    for (int64_t column = 0; column < head_dim_; column += kPanel) {
      for (int64_t row = 0; row < queries; row += kRows)
        Tile::template multiply<Finish::kScaleAndAdd>(
            scores_ + row * kKeys, kKeys, 1, values_ + column * kKeys, columns,
            attended_ + row * padded(head_dim_) + column, padded(head_dim_), factors_ + row);
    }
    store_queries(query, queries, key + keys >= position(query) + queries);
  }

  void load_queries(int64_t query, int64_t queries, bool is_first) {
    Product::gather_rows(q_ + query * arguments_.query_stride, arguments_.query_stride, queries,
                         head_dim_, queries_);
    const int64_t gathered = (queries + kRows - 1) / kRows * kRows * head_dim_;
    for (int64_t i = 0; i < gathered; ++i) queries_[i] *= scale_;
    const int64_t width = padded(head_dim_);
    if (is_first) std::fill(attended_, attended_ + kQueries * width, 0.0f);
    for (int64_t row = 0; row < queries && !is_first; ++row)
      std::copy_n(out_ + (query + row) * out_stride_, head_dim_, attended_ + row * width);
  }

  // Turns the scores of a query into the weights of the values; zeros for keys that it does not
  // see.
  void weigh(int64_t query, int64_t row, int64_t key, int64_t keys, int64_t columns) {
    float* const scores = scores_ + row * kKeys;
    const int64_t first = std::clamp<int64_t>(first_seen(query + row) - key, 0, columns);
    const int64_t last = std::clamp<int64_t>(position(query + row) + 1 - key, 0, keys);
    if (first >= last) {
      std::fill(scores, scores + columns, 0.0f);
      factors_[row] = 1.0f;
      return;
    }
    std::fill(scores, scores + first, kUnseen);
    std::fill(scores + last, scores + columns, kUnseen);
    const float before = maxima_[query + row];
    const float maximum = largest(scores, columns, before);
    factors_[row] = exponential(before - maximum);
    maxima_[query + row] = maximum;
    float& sum = sums_[query + row];
    sum = sum * factors_[row] + exponentials(scores, columns, maximum);
  }

  // Both in kSumLanes lanes: that fixes the order of summation.
  static float largest(const float* scores, int64_t columns, float at_least) {
    float lanes[kSumLanes];
    std::fill(lanes, lanes + kSumLanes, at_least);
    for (int64_t i = 0; i < columns; i += kSumLanes) {
      for (int64_t lane = 0; lane < kSumLanes; ++lane)
        lanes[lane] = scores[i + lane] > lanes[lane] ? scores[i + lane] : lanes[lane];
    }
    for (int64_t half = kSumLanes / 2; half > 0; half /= 2)
      for (int64_t lane = 0; lane < half; ++lane)
        lanes[lane] = lanes[lane + half] > lanes[lane] ? lanes[lane + half] : lanes[lane];
    return lanes[0];
  }

  static float exponentials(float* scores, int64_t columns, float maximum) {
    float lanes[kSumLanes] = {};
    for (int64_t i = 0; i < columns; i += kSumLanes) {
      for (int64_t lane = 0; lane < kSumLanes; ++lane) {
        scores[i + lane] = exponential(scores[i + lane] - maximum);
        lanes[lane] += scores[i + lane];
      }
    }
    for (int64_t half = kSumLanes / 2; half > 0; half /= 2)
      for (int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    return lanes[0];
  }

  void store_queries(int64_t query, int64_t queries, bool is_last) {
    for (int64_t row = 0; row < queries; ++row) {
      const float* const attended = attended_ + row * padded(head_dim_);
      float* const out = out_ + (query + row) * out_stride_;
      const float sum = sums_[query + row];
      if (is_last)
        for (int64_t i = 0; i < head_dim_; ++i) out[i] = attended[i] / sum;
      else
        std::copy_n(attended, head_dim_, out);
    }
  }

  const CausalAttentionArguments& arguments_;
  const int64_t query_length_, key_length_, first_position_, head_dim_, keys_seen_;
  const float scale_;
  const int64_t out_stride_;
  const float *q_, *k_, *v_;
  float* out_;
  float *keys_, *values_;  // packed: [head_dim, kKeys], [kKeys, padded head_dim]
  float* queries_;         // gathered
  float* scores_;          // [kQueries, kKeys]
  float* attended_;        // [kQueries, padded head_dim]
  float* factors_;         // [kQueries]: by which what was attended before shrinks
  float *maxima_, *sums_;  // [query_length], of the scores and weights so far
};

}  // namespace
}  // namespace kvcalib::kernels::cpu
