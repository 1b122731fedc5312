// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tests/benchmarks/kernel_benchmark.h"

// The kernels of a paged cache on a Machine, which has beside kernel_benchmark.h's
//   Machine::kDecodeRows             sequences that are decoded together
//   Machine::decode_scratch(shape)   floats of scratch memory for these
namespace kvcalib::kernels {

// Blocks lie as a cache's do after a while: each is as far from the one before it as from others.
template <typename Integer>
std::vector<Integer> scattered_blocks(int64_t count) {
  constexpr int64_t kPrime = 7919;
  std::vector<Integer> blocks;
  for (int64_t i = 0; i < count; ++i) blocks.push_back(static_cast<Integer>(i * kPrime % count));
  return blocks;
}

// K or V of a cache: of codes, or of T.
template <typename Machine, typename T>
class CacheOperands {
 public:
  CacheOperands(const ModelShape& shape, int64_t blocks, bool codes)
      : codes_(codes),
        values_(random_pattern<T>(15), codes ? 1 : elements(shape, blocks)),
        bytes_({1, 77, 200, 255, 128, 3, 91}, codes ? elements(shape, blocks) : 1),
        scale_({4.0f / 127.0f}, shape.kv_heads * shape.head_dim),
        zero_({0.125f}, shape.kv_heads * shape.head_dim) {}

  CachedTensor<T> tensor(T* values) {
    return {.values = values, .cache = cache(), .scale = scale(), .zero = zero()};
  }
  CacheSource source() { return {.cache = cache(), .scale = scale(), .zero = zero()}; }

 private:
  static int64_t elements(const ModelShape& shape, int64_t blocks) {
    return blocks * kBlockTokens * shape.kv_heads * shape.head_dim;
  }
  void* cache() { return codes_ ? static_cast<void*>(bytes_.data()) : values_.data(); }
  const float* scale() { return codes_ ? scale_.data() : nullptr; }
  const float* zero() { return codes_ ? zero_.data() : nullptr; }

  bool codes_;
  typename Machine::template Array<T> values_;
  typename Machine::template Array<uint8_t> bytes_;
  typename Machine::template Array<float> scale_, zero_;
};

// K and V of tokens behind their queries, and the caches that they go to, or come from.
template <typename Machine, typename T>
class StoreOperands {
 public:
  StoreOperands(const ModelShape& shape, bool codes)
      : shape_(shape),
        codes_(codes),
        qkv_(random_pattern<T>(16), Machine::kTokens * row_stride()),
        slots_(scattered_slots(), Machine::kTokens),
        keys_(shape, kBlocks, codes),
        values_(shape, kBlocks, codes) {}

  CacheStoreArguments<T> storing(bool read_back) {
    CacheStoreArguments<T> arguments;
    fill(arguments);
    arguments.read_back = read_back;
    return arguments;
  }
  CacheLoadArguments<T> loading() {
    CacheLoadArguments<T> arguments;
    fill(arguments);
    return arguments;
  }

 private:
  static constexpr int64_t kBlocks = Machine::kTokens / kBlockTokens;

  int64_t columns() const { return shape_.kv_heads * shape_.head_dim; }
  int64_t row_stride() const { return shape_.heads * shape_.head_dim + 2 * columns(); }

  static std::vector<int64_t> scattered_slots() {
    std::vector<int64_t> slots;
    for (const int64_t block : scattered_blocks<int64_t>(kBlocks))
      for (int64_t place = 0; place < kBlockTokens; ++place)
        slots.push_back(block * kBlockTokens + place);
    return slots;
  }

  template <typename Arguments>
  void fill(Arguments& arguments) {
    T* const keys = qkv_.data() + shape_.heads * shape_.head_dim;
    arguments.keys = keys_.tensor(keys);
    arguments.values = values_.tensor(keys + columns());
    arguments.slots = slots_.data();
    arguments.tokens = Machine::kTokens;
    arguments.row_stride = row_stride();
    arguments.kv_heads = shape_.kv_heads;
    arguments.head_dim = shape_.head_dim;
    arguments.codes = codes_;
  }

  ModelShape shape_;
  bool codes_;
  typename Machine::template Array<T> qkv_;
  typename Machine::template Array<int64_t> slots_;
  CacheOperands<Machine, T> keys_, values_;
};

template <typename Machine, typename T>
void benchmark_cache_store(benchmark::State& state, Machine& machine, const ModelShape& shape,
                           bool codes, bool read_back) {
  StoreOperands<Machine, T> operands(shape, codes);
  measure(state, machine, operands.storing(read_back), [] {});
}

template <typename Machine, typename T>
void benchmark_cache_load(benchmark::State& state, Machine& machine, const ModelShape& shape,
                          bool codes) {
  StoreOperands<Machine, T> operands(shape, codes);
  measure(state, machine, operands.loading(), [] {});
}

// Sequences of kWindow keys each.
template <typename Machine, typename T>
void benchmark_decode_attention(benchmark::State& state, Machine& machine, const ModelShape& shape,
                                bool codes, int64_t rows) {
  constexpr int64_t kRowBlocks = kWindow / kBlockTokens;
  const int64_t columns = shape.heads * shape.head_dim;
  CacheOperands<Machine, T> keys(shape, rows * kRowBlocks, codes);
  CacheOperands<Machine, T> values(shape, rows * kRowBlocks, codes);
  typename Machine::template Array<T> queries(random_pattern<T>(17), rows * columns);
  typename Machine::template Array<T> out(random_pattern<T>(18), rows * columns);
  typename Machine::template Array<int32_t> tables(scattered_blocks<int32_t>(rows * kRowBlocks),
                                                   rows * kRowBlocks);
  typename Machine::template Array<int32_t> counts({static_cast<int32_t>(kWindow)}, rows);
  typename Machine::template Array<float> scratch({0.0f}, Machine::decode_scratch(shape, rows));
  measure(state, machine,
          DecodeAttentionArguments<T>{.queries = queries.data(),
                                      .query_stride = columns,
                                      .key_cache = keys.source(),
                                      .value_cache = values.source(),
                                      .codes = codes,
                                      .block_tables = tables.data(),
                                      .table_stride = kRowBlocks,
                                      .keys = counts.data(),
                                      .most_keys = kWindow,
                                      .out = out.data(),
                                      .out_stride = columns,
                                      .rows = rows,
                                      .heads = shape.heads,
                                      .kv_heads = shape.kv_heads,
                                      .head_dim = shape.head_dim,
                                      .scratch = scratch.data()},
          [] {});
}

// The rows of the kernels of a cache of codes, and of one of T.
template <typename Machine, typename T>
void add_cache_rows(const std::shared_ptr<Machine>& machine, const std::string& type) {
  using benchmark::State;
  for (const ModelShape& shape : {kModelShapes[0], kModelShapes[1]}) {
    for (const bool codes : {true, false}) {
      const std::string held = codes ? "_u8" : "";
      for (const bool read_back : {false, true}) {
        if (read_back && !codes) continue;  // as without
        add_row(machine, "cache_store" + held + (read_back ? "_read_back" : ""), shape, type,
                [=](State& state, Machine& on, const ModelShape& model) {
                  benchmark_cache_store<Machine, T>(state, on, model, codes, read_back);
                });
      }
      add_row(machine, "cache_load" + held, shape, type,
              [=](State& state, Machine& on, const ModelShape& model) {
                benchmark_cache_load<Machine, T>(state, on, model, codes);
              });
      for (const int64_t rows : {Machine::kDecodeRows, int64_t{1}})
        add_row(machine, "decode_attention" + held + "_" + std::to_string(rows), shape, type,
                [=](State& state, Machine& on, const ModelShape& model) {
                  benchmark_decode_attention<Machine, T>(state, on, model, codes, rows);
                });
    }
  }
}

}  // namespace kvcalib::kernels
