// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <ostream>
#include <random>
#include <vector>

#include "kernels/decode_attention.h"
#include "tests/kernels/kernel_test_data.h"

namespace kvcalib::kernels {

// The dimensions of a call of decode_attention.
struct DecodeShape {
  int64_t heads = 4, kv_heads = 2, head_dim = 128;
  std::vector<int32_t> keys{300};  // of each row
  int64_t sliding_window = 0;
  bool codes = false, own = false;

  int64_t rows() const { return static_cast<int64_t>(keys.size()); }
  int64_t most_keys() const { return *std::max_element(keys.begin(), keys.end()); }
  int64_t first_key(int64_t row) const {
    const int64_t count = keys[static_cast<size_t>(row)];
    return sliding_window > 0 ? std::max<int64_t>(0, count - sliding_window) : 0;
  }
};

inline std::ostream& operator<<(std::ostream& out, const DecodeShape& shape) {
  out << shape.heads << " over " << shape.kv_heads << " x " << shape.head_dim << ", window "
      << shape.sliding_window << (shape.codes ? ", codes" : "") << (shape.own ? ", own" : "")
      << ", keys";
  for (const int32_t keys : shape.keys) out << ' ' << keys;
  return out;
}

// Groups of every size, head_dims that cut into no chunks, few keys, the borders of blocks and of
// chunks, all of it with and without codes, own keys and windows.
inline std::vector<DecodeShape> decode_shapes() {
  const std::vector<int32_t> borders{1, 2, 63, 64, 65, 255, 256, 257, 320, 511, 512, 513, 0, 800};
  std::vector<DecodeShape> shapes;
  for (const auto& [heads, kv_heads] : {std::pair<int64_t, int64_t>{2, 2},
                                        {4, 2},
                                        {4, 1},
                                        {6, 2},
                                        {5, 1},
                                        {8, 1},
                                        {12, 1},
                                        {16, 1}})
    shapes.push_back({heads, kv_heads, 128, {700, 1, 256, 90}});
  for (const int64_t head_dim : {1, 6, 8, 16, 20, 64, 72, 80, 96, 120, 128, 255, 256})
    shapes.push_back({4, 2, head_dim, {300, 1, 70}});
  shapes.push_back({2, 1, 64, borders});
  shapes.push_back({4, 1, 40, {2000}});
  for (const int64_t window : {1, 2, 64, 100, 256, 300, 5000})
    shapes.push_back({2, 1, 32, borders, window});
  const size_t plain = shapes.size();
  for (const auto& [codes, own] : {std::pair{true, false}, {false, true}, {true, true}}) {
    for (size_t i = 0; i < plain; ++i) {
      shapes.push_back(shapes[i]);
      shapes.back().codes = codes;
      shapes.back().own = own;
    }
  }
  return shapes;
}

// The operands of a call in host memory.  Rows that are longer than a block share their first one;
// blocks are shuffled.  What no query sees is NaN, and its blocks are nowhere.
template <typename T>
struct DecodeCase {
  static constexpr int32_t kNowhere = 1 << 28;
  static constexpr int64_t kBetween = 8;  // elements between rows

  explicit DecodeCase(const DecodeShape& shape, float spread = 1.0f)
      : shape(shape),
        queries(random_values<T>(shape.rows() * query_stride(), 41, spread)),
        own_keys(random_values<T>(shape.rows() * own_stride(), 42)),
        own_values(random_values<T>(shape.rows() * own_stride(), 43)) {
    make_tables();
    for (Source* source : {&key_cache, &value_cache}) make(*source, source == &key_cache ? 44 : 48);
  }

  struct Source {
    std::vector<T> values;
    std::vector<uint8_t> codes;
    std::vector<float> scale, zero;

    CacheSource source() const {
      if (codes.empty()) return {values.data(), nullptr, nullptr};
      return {codes.data(), scale.data(), zero.data()};
    }
    double element(int64_t place, int64_t channel) const {
      const auto i = static_cast<size_t>(place), c = static_cast<size_t>(channel);
      if (codes.empty()) return static_cast<double>(to_float(values[i]));
      return (static_cast<double>(codes[i]) - 128.0) * static_cast<double>(scale[c]) +
             static_cast<double>(zero[c]);
    }
  };

  int64_t query_stride() const { return shape.heads * shape.head_dim + kBetween; }
  int64_t own_stride() const { return shape.kv_heads * shape.head_dim + kBetween; }
  int64_t table_stride() const { return (shape.most_keys() + kBlockTokens - 1) / kBlockTokens + 1; }
  std::vector<T> no_results() const { return std::vector<T>(queries.size(), from_float<T>(-7.0f)); }

  DecodeAttentionArguments<T> arguments(std::vector<T>& out, std::vector<float>& scratch) const {
    return {.queries = queries.data(),
            .query_stride = query_stride(),
            .key_cache = key_cache.source(),
            .value_cache = value_cache.source(),
            .codes = shape.codes,
            .block_tables = tables.data(),
            .table_stride = table_stride(),
            .keys = shape.keys.data(),
            .most_keys = shape.most_keys(),
            .own_keys = shape.own ? own_keys.data() : nullptr,
            .own_values = shape.own ? own_values.data() : nullptr,
            .own_stride = shape.own ? own_stride() : 0,
            .out = out.data(),
            .out_stride = query_stride(),
            .rows = shape.rows(),
            .heads = shape.heads,
            .kv_heads = shape.kv_heads,
            .head_dim = shape.head_dim,
            .sliding_window = shape.sliding_window,
            .scratch = scratch.data()};
  }

  // The same with one of its rows alone.
  DecodeCase row(int64_t row) const {
    DecodeCase alone = *this;
    const auto cut = [&](auto& values, int64_t stride) {
      values = {values.begin() + row * stride, values.begin() + (row + 1) * stride};
    };
    cut(alone.queries, query_stride());
    cut(alone.own_keys, own_stride());
    cut(alone.own_values, own_stride());
    cut(alone.tables, table_stride());
    alone.shape.keys = {shape.keys[static_cast<size_t>(row)]};
    alone.tables.resize(static_cast<size_t>(alone.table_stride()));
    return alone;
  }

  // The element of a cache where a row has a key.
  int64_t place(int64_t row, int64_t key, int64_t kv_head) const {
    const auto entry = static_cast<size_t>(row * table_stride() + key / kBlockTokens);
    return ((int64_t{tables[entry]} * shape.kv_heads + kv_head) * kBlockTokens +
            key % kBlockTokens) *
           shape.head_dim;
  }

  // What a head of a row attends to, in double.
  std::vector<double> expected(int64_t row, int64_t head) const {
    const int64_t width = shape.head_dim, kv_head = head / (shape.heads / shape.kv_heads);
    const int64_t count = shape.keys[static_cast<size_t>(row)], first = shape.first_key(row);
    const auto element = [&](const Source& source, const std::vector<T>& own, int64_t key,
                             int64_t i) {
      if (shape.own && key == count - 1)
        return static_cast<double>(
            to_float(own[static_cast<size_t>(row * own_stride() + kv_head * width + i)]));
      return source.element(place(row, key, kv_head) + i, kv_head * width + i);
    };
    std::vector<double> weights, result(static_cast<size_t>(width));
    for (int64_t key = first; key < count; ++key) {
      double score = 0.0;
      for (int64_t i = 0; i < width; ++i) {
        const auto query = static_cast<size_t>(row * query_stride() + head * width + i);
        score +=
            static_cast<double>(to_float(queries[query])) * element(key_cache, own_keys, key, i);
      }
      weights.push_back(score / std::sqrt(static_cast<double>(width)));
    }
    if (weights.empty()) return result;
    const double largest = *std::max_element(weights.begin(), weights.end());
    double sum = 0.0;
    for (double& weight : weights) sum += weight = std::exp(weight - largest);
    for (int64_t key = first; key < count; ++key)
      for (int64_t i = 0; i < width; ++i)
        result[static_cast<size_t>(i)] += weights[static_cast<size_t>(key - first)] / sum *
                                          element(value_cache, own_values, key, i);
    return result;
  }

  // Of all rows and heads: [rows, heads, head_dim].
  std::vector<double> expected() const {
    std::vector<double> all;
    for (int64_t row = 0; row < shape.rows(); ++row) {
      for (int64_t head = 0; head < shape.heads; ++head) {
        const std::vector<double> one = expected(row, head);
        all.insert(all.end(), one.begin(), one.end());
      }
    }
    return all;
  }

  DecodeShape shape;
  std::vector<T> queries, own_keys, own_values;
  std::vector<int32_t> tables;
  Source key_cache, value_cache;

 private:
  // Whether a row reads a key of its cache.
  bool is_read(int64_t row, int64_t key) const {
    const int64_t count = shape.keys[static_cast<size_t>(row)];
    return shape.first_key(row) <= key && key < count - (shape.own ? 1 : 0);
  }

  void make_tables() {
    tables.assign(static_cast<size_t>(shape.rows() * table_stride()), kNowhere);
    blocks_ = shape.rows() * table_stride();
    std::vector<int32_t> shuffled(static_cast<size_t>(blocks_));
    std::iota(shuffled.begin(), shuffled.end(), 0);
    std::shuffle(shuffled.begin(), shuffled.end(), std::mt19937(40));
    for (int64_t row = 0; row < shape.rows(); ++row) {
      for (int64_t key = 0; key < shape.most_keys(); ++key) {
        if (!is_read(row, key)) continue;
        const bool shared = key < kBlockTokens && is_read(row, 0) && is_read(row, kBlockTokens);
        const int64_t entry = row * table_stride() + key / kBlockTokens;
        tables[static_cast<size_t>(entry)] = shuffled[static_cast<size_t>(shared ? 0 : entry)];
      }
    }
  }

  void make(Source& source, unsigned seed) {
    const int64_t block = shape.kv_heads * kBlockTokens * shape.head_dim;
    const auto drawn = random_values<T>(blocks_ * block, seed);
    source.values.assign(drawn.size(), from_float<T>(std::nanf("")));
    for (int64_t row = 0; row < shape.rows(); ++row)
      for (int64_t key = 0; key < shape.most_keys(); ++key)
        for (int64_t head = 0; is_read(row, key) && head < shape.kv_heads; ++head)
          std::copy_n(drawn.begin() + place(row, key, head), shape.head_dim,
                      source.values.begin() + place(row, key, head));
    if (!shape.codes) return;
    source.scale = random_values<float>(shape.kv_heads * shape.head_dim, seed + 1);
    for (float& step : source.scale) step = (std::abs(step) + 1.0f) / 64.0f;
    source.zero = random_values<float>(shape.kv_heads * shape.head_dim, seed + 2, 0.5f);
    for (const T value : drawn)
      source.codes.push_back(static_cast<uint8_t>(
          std::clamp(128.0f + std::nearbyint(to_float(value) * 40.0f), 0.0f, 255.0f)));
    source.values.clear();
  }

  int64_t blocks_ = 0;
};

// `found` as `no_results` has it, filled in; beside the tolerance is what T rounds.
template <typename T>
void expect_attended(const DecodeCase<T>& test, const std::vector<double>& expected,
                     const std::vector<T>& found, double tolerance) {
  const int64_t columns = test.shape.heads * test.shape.head_dim;
  const double rounds = std::is_same_v<T, float> ? 0.0 : 0.501 * unit_roundoff<T>();
  for (int64_t row = 0; row < test.shape.rows(); ++row) {
    double worst = 0.0;
    for (int64_t i = 0; i < columns; ++i) {
      const double value = expected[static_cast<size_t>(row * columns + i)];
      const auto other =
          static_cast<double>(to_float(found[static_cast<size_t>(row * test.query_stride() + i)]));
      const double error = std::abs(other - value) - rounds * std::abs(value);
      worst = error <= worst ? worst : error;  // NaN is the worst
    }
    EXPECT_LT(worst, tolerance) << test.shape << ", row " << row;
    const auto behind = static_cast<size_t>((row + 1) * test.query_stride() - 1);
    EXPECT_EQ(to_float(found[behind]), -7.0f) << test.shape;
  }
}

}  // namespace kvcalib::kernels
