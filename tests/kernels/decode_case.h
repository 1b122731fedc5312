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

// A call of decode_attention.
struct DecodeShape {
  int64_t heads, kv_heads, head_dim;
  std::vector<int32_t> keys;  // of each row
  bool codes, own = false;
  int64_t sliding_window = 0;

  int64_t rows() const { return static_cast<int64_t>(keys.size()); }
  int64_t most_keys() const { return *std::max_element(keys.begin(), keys.end()); }
  int64_t blocks_of_row() const {
    return (most_keys() + kCacheBlockTokens - 1) / kCacheBlockTokens;
  }
  int64_t columns() const { return kv_heads * head_dim; }
};

inline std::ostream& operator<<(std::ostream& out, const DecodeShape& shape) {
  return out << shape.heads << "/" << shape.kv_heads << " x " << shape.head_dim << ", "
             << shape.rows() << " rows, " << (shape.codes ? "codes" : "elements")
             << (shape.own ? ", own" : "") << ", window " << shape.sliding_window;
}

// Every size of a group, heads that are no power of two, one key, ends of blocks and of chunks.
inline std::vector<DecodeShape> decode_shapes() {
  std::vector<DecodeShape> shapes;
  for (const bool codes : {false, true})
    for (const bool own : {false, true}) {
      shapes.push_back({4, 4, 128, {1, 2, 63, 64, 65, 256, 257, 700}, codes, own});
      shapes.push_back({8, 4, 64, {5, 64, 128}, codes, own});
      shapes.push_back({8, 2, 80, {300, 17}, codes, own, 40});
      shapes.push_back({16, 2, 96, {1, 513}, codes, own, 300});
      shapes.push_back({6, 2, 256, {130, 3}, codes, own});
      shapes.push_back({12, 1, 32, {90}, codes, own, 1});
      shapes.push_back({2, 2, 16, {400, 64}, codes, own});
    }
  return shapes;
}

// The operands of one call in host memory, and what it wrote.  All blocks lie in any order, and the
// first ones of all rows are the same.
template <typename T>
struct DecodeCase {
  explicit DecodeCase(const DecodeShape& shape)
      : shape(shape),
        queries(random_values<T>(shape.rows() * query_stride(), 31)),
        own_keys(random_values<T>(shape.rows() * shape.columns(), 32)),
        own_values(random_values<T>(shape.rows() * shape.columns(), 33)),
        scale(random_values<float>(2 * shape.columns(), 34)),
        zero(random_values<float>(2 * shape.columns(), 35, 0.3f)),
        tables(static_cast<size_t>(shape.rows() * shape.blocks_of_row())),
        out(static_cast<size_t>(shape.rows() * shape.heads * shape.head_dim)) {
    for (float& step : scale) step = (std::abs(step) + 1.0f) / 100.0f;
    const int64_t blocks = static_cast<int64_t>(tables.size());
    std::iota(tables.begin(), tables.end(), 0);
    std::mt19937 random(36);
    std::shuffle(tables.begin(), tables.end(), random);
    for (int64_t row = 1; row < shape.rows(); ++row)
      tables[row * shape.blocks_of_row()] = tables[0];
    const int64_t elements = 2 * blocks * shape.columns() * kCacheBlockTokens;
    if (shape.codes) {
      codes.resize(static_cast<size_t>(elements));
      for (uint8_t& code : codes) code = static_cast<uint8_t>(random());
    } else {
      plain = random_values<T>(elements, 37);
    }
  }

  int64_t query_stride() const { return shape.heads * shape.head_dim + 16; }

  DecodeAttentionArguments<T> arguments() {
    DecodeAttentionArguments<T> result;
    result.queries = queries.data();
    result.query_stride = query_stride();
    result.cache.kv_heads = shape.kv_heads;
    result.cache.head_dim = shape.head_dim;
    set_cache(result, shape.codes ? static_cast<void*>(codes.data()) : plain.data(), scale.data(),
              zero.data());
    result.tables = tables.data();
    result.table_stride = shape.blocks_of_row();
    result.keys = shape.keys.data();
    if (shape.own) {
      result.own_keys = own_keys.data();
      result.own_values = own_values.data();
    }
    result.own_stride = shape.columns();
    result.rows = shape.rows();
    result.heads = shape.heads;
    result.most_keys = shape.most_keys();
    result.sliding_window = shape.sliding_window;
    result.out = out.data();
    result.out_stride = shape.heads * shape.head_dim;
    return result;
  }

  // K in the first half of the elements, V in the second.
  void set_cache(DecodeAttentionArguments<T>& result, void* elements, const float* scales,
                 const float* zeros) const {
    const int64_t half = static_cast<int64_t>(tables.size()) * shape.columns() * kCacheBlockTokens;
    auto* const first = static_cast<char*>(elements);
    const int64_t bytes = half * (shape.codes ? 1 : static_cast<int64_t>(sizeof(T)));
    result.cache.keys = {first, shape.codes ? scales : nullptr, shape.codes ? zeros : nullptr};
    result.cache.values = {first + bytes, shape.codes ? scales + shape.columns() : nullptr,
                           shape.codes ? zeros + shape.columns() : nullptr};
  }

  // Of K or of V: what is read back of a row's key, rounded to 16 bits where that is wanted.
  double read(bool is_value, int64_t row, int64_t key, int64_t column) const {
    if (shape.own && key + 1 == shape.keys[row])
      return to_float((is_value ? own_values : own_keys)[row * shape.columns() + column]);
    const int64_t block = tables[row * shape.blocks_of_row() + key / kCacheBlockTokens];
    const int64_t head = column / shape.head_dim, channel = column % shape.head_dim;
    const int64_t half = static_cast<int64_t>(tables.size()) * shape.columns() * kCacheBlockTokens;
    const int64_t at =
        ((block * shape.kv_heads + head) * kCacheBlockTokens + key % kCacheBlockTokens) *
            shape.head_dim +
        channel + (is_value ? half : 0);
    if (!shape.codes) return to_float(plain[at]);
    const int64_t own = column + (is_value ? shape.columns() : 0);
    const float value = static_cast<float>(codes[at] - kCodeOffset) * scale[own] + zero[own];
    return to_float(from_float<Half>(value));
  }

  // In double, by the definition.
  std::vector<double> expected() const {
    std::vector<double> result;
    const int64_t group = shape.heads / shape.kv_heads;
    for (int64_t row = 0; row < shape.rows(); ++row)
      for (int64_t head = 0; head < shape.heads; ++head) {
        const int64_t count = shape.keys[row], first_column = head / group * shape.head_dim;
        const int64_t first =
            shape.sliding_window > 0 ? std::max<int64_t>(0, count - shape.sliding_window) : 0;
        std::vector<double> weights;
        for (int64_t key = first; key < count; ++key) {
          double score = 0;
          for (int64_t i = 0; i < shape.head_dim; ++i)
            score += to_float(queries[row * query_stride() + head * shape.head_dim + i]) *
                     read(false, row, key, first_column + i);
          weights.push_back(score / std::sqrt(static_cast<double>(shape.head_dim)));
        }
        const double largest = *std::max_element(weights.begin(), weights.end());
        double sum = 0;
        for (double& weight : weights) sum += weight = std::exp(weight - largest);
        for (int64_t i = 0; i < shape.head_dim; ++i) {
          double value = 0;
          for (size_t key = 0; key < weights.size(); ++key)
            value +=
                weights[key] * read(true, row, first + static_cast<int64_t>(key), first_column + i);
          result.push_back(value / sum);
        }
      }
    return result;
  }

  DecodeShape shape;
  std::vector<T> queries, own_keys, own_values, plain;
  std::vector<uint8_t> codes;
  std::vector<float> scale, zero;
  std::vector<int32_t> tables;
  std::vector<T> out;
};

// The case of one of the rows alone.
template <typename T>
DecodeCase<T> row_alone(const DecodeCase<T>& all, int64_t row) {
  DecodeCase<T> alone = all;
  const auto take = [&](auto& values, int64_t width) {
    values = {values.begin() + row * width, values.begin() + (row + 1) * width};
  };
  const int64_t blocks = static_cast<int64_t>(all.tables.size());
  take(alone.queries, all.query_stride());
  take(alone.own_keys, all.shape.columns());
  take(alone.own_values, all.shape.columns());
  take(alone.shape.keys, 1);
  take(alone.out, all.shape.heads * all.shape.head_dim);
  // Its table, of as many columns as there were: the cache keeps its blocks.
  std::vector<int32_t> table(static_cast<size_t>(blocks), 0);
  std::copy_n(all.tables.begin() + row * all.shape.blocks_of_row(), all.shape.blocks_of_row(),
              table.begin());
  alone.tables = table;
  return alone;
}

}  // namespace kvcalib::kernels
