// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/benchmarks/kernel_benchmark.h"

// Kernels of a paged cache on a Machine of kernel_benchmark.h.
namespace kvcalib::kernels {

// A cache of sequences of kWindow keys each, whose blocks lie in the order in which they are read.
template <typename Machine, typename T>
class CacheOperands {
 public:
  CacheOperands(const ModelShape& shape, int64_t rows, bool codes)
      : shape_(shape),
        rows_(rows),
        codes_(codes),
        scale_({4.0f / 127.0f}, columns()),
        zero_({0.125f}, columns()),
        elements_(random_pattern<Half>(12), codes ? half() : 2 * half()),
        slots_(counted<int64_t>(rows * kWindow), rows * kWindow),
        tables_(counted<int32_t>(rows * kBlocks), rows * kBlocks),
        keys_({static_cast<int32_t>(kWindow)}, rows) {}

  int64_t columns() const { return shape_.kv_heads * shape_.head_dim; }
  int64_t tokens() const { return rows_ * kWindow; }

  PagedCache cache() {
    PagedCache result;
    result.kv_heads = shape_.kv_heads;
    result.head_dim = shape_.head_dim;
    auto* const first = reinterpret_cast<char*>(elements_.data());
    const int64_t bytes = half() * (codes_ ? 1 : static_cast<int64_t>(sizeof(T)));
    result.keys.elements = first;
    result.values.elements = first + bytes;
    if (codes_) {
      result.keys.scale = result.values.scale = scale_.data();
      result.keys.zero = result.values.zero = zero_.data();
    }
    return result;
  }
  const int64_t* slots() { return slots_.data(); }

  DecodeAttentionArguments<T> attention(const T* queries, float* scratch, T* out) {
    DecodeAttentionArguments<T> result;
    result.queries = queries;
    result.query_stride = result.out_stride = shape_.heads * shape_.head_dim;
    result.cache = cache();
    result.tables = tables_.data();
    result.table_stride = kBlocks;
    result.keys = keys_.data();
    result.rows = rows_;
    result.heads = shape_.heads;
    result.most_keys = kWindow;
    result.scratch = scratch;
    result.out = out;
    return result;
  }

 private:
  static constexpr int64_t kBlocks = kWindow / kCacheBlockTokens;
  static_assert(sizeof(T) == sizeof(Half), "elements of 16 bits, or two codes in the place of one");

  // Elements of K.
  int64_t half() const { return tokens() * columns(); }

  template <typename Number>
  static std::vector<Number> counted(int64_t count) {
    std::vector<Number> numbers(static_cast<size_t>(count));
    std::iota(numbers.begin(), numbers.end(), Number{0});
    return numbers;
  }

  ModelShape shape_;
  int64_t rows_;
  bool codes_;
  typename Machine::template Array<float> scale_, zero_;
  typename Machine::template Array<Half> elements_;
  typename Machine::template Array<int64_t> slots_;
  typename Machine::template Array<int32_t> tables_, keys_;
};

template <typename Machine, typename T>
void benchmark_cache_store(benchmark::State& state, Machine& machine, const ModelShape& shape,
                           bool codes, bool loads) {
  constexpr int64_t kRows = 8;
  CacheOperands<Machine, T> operands(shape, kRows, codes);
  const int64_t elements = operands.tokens() * operands.columns();
  typename Machine::template Array<T> keys(random_pattern<T>(13), elements);
  typename Machine::template Array<T> values(random_pattern<T>(14), elements);
  if (loads) {
    measure(state, machine,
            CacheLoadArguments<T>{keys.data(), values.data(), operands.slots(), operands.tokens(),
                                  operands.columns(), operands.cache()},
            [] {});
    return;
  }
  CacheStoreArguments<T> arguments;
  arguments.keys = keys.data();
  arguments.values = values.data();
  arguments.slots = operands.slots();
  arguments.tokens = operands.tokens();
  arguments.row_stride = operands.columns();
  arguments.cache = operands.cache();
  measure(state, machine, arguments, [] {});
}

template <typename Machine, typename T>
void benchmark_decode_attention(benchmark::State& state, Machine& machine, const ModelShape& shape,
                                int64_t rows, bool codes) {
  CacheOperands<Machine, T> operands(shape, rows, codes);
  const int64_t width = rows * shape.heads * shape.head_dim;
  typename Machine::template Array<T> queries(random_pattern<T>(15), width);
  typename Machine::template Array<T> out(random_pattern<T>(16), width);
  typename Machine::template Array<float> scratch(
      {0.0f}, decode_attention_scratch(rows, shape.heads, shape.head_dim, kWindow));
  measure(state, machine, operands.attention(queries.data(), scratch.data(), out.data()), [] {});
}

// The rows of a GPU's element type.
template <typename T, typename Machine>
void add_cache_rows(const std::shared_ptr<Machine>& machine, const std::string& type) {
  using benchmark::State;
  for (const ModelShape& shape : {kModelShapes[0], kModelShapes[1]})
    for (const bool codes : {false, true}) {
      const std::string kind = codes ? "_u8" : "_16";
      for (const bool loads : {false, true})
        add_row(machine, (loads ? "cache_load" : "cache_store") + kind, shape, type,
                [=](State& state, Machine& on, const ModelShape& model) {
                  benchmark_cache_store<Machine, T>(state, on, model, codes, loads);
                });
      for (const int64_t rows : {1, 32, 128})
        add_row(machine, "decode_attention" + kind + "_" + std::to_string(rows), shape, type,
                [=](State& state, Machine& on, const ModelShape& model) {
                  benchmark_decode_attention<Machine, T>(state, on, model, rows, codes);
                });
    }
}

}  // namespace kvcalib::kernels
