// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <string>

#include "kernels/instruction_set.h"
#include "tests/benchmarks/kernel_benchmark.h"
#include "tests/benchmarks/multiply_add_peak.h"

namespace kvcalib::kernels {
namespace {

using cpu::InstructionSet;

// What a strip of a layer's product is, and a head of a window.
constexpr int64_t kRows = kWindow, kStripColumns = 512, kHeadDim = 128;

// Times the call until Google Benchmark has enough of it; returns calls per second.
template <typename Call>
double call_rate(benchmark::State& state, Call call) {
  const auto start = std::chrono::steady_clock::now();
  for (auto _ : state) call();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  return static_cast<double>(state.iterations()) / taken.count();
}

void report(benchmark::State& state, double flop_per_second, double peak) {
  state.counters["flop_per_second"] = flop_per_second;
  if (peak > 0.0) state.counters["of_peak"] = flop_per_second / peak;
}

void benchmark_product(benchmark::State& state, const InstructionSet& set, int64_t depth,
                       double peak) {
  const auto pattern = random_pattern<float>(11);
  std::vector<float> x(static_cast<size_t>(kRows * depth)), out(kRows * kStripColumns);
  std::vector<float> weight(static_cast<size_t>(cpu::packed_floats(depth, kStripColumns, set)));
  for (size_t i = 0; i < x.size(); ++i) x[i] = pattern[i % pattern.size()];
  for (size_t i = 0; i < weight.size(); ++i) weight[i] = pattern[i % pattern.size()];
  std::vector<float> scratch(cpu::kProductScratch);
  const double rate = call_rate(state, [&] {
    cpu::matrix_product({.x = x.data(),
                         .x_stride = depth,
                         .weight = weight.data(),
                         .out = out.data(),
                         .out_stride = kStripColumns,
                         .rows = kRows,
                         .depth = depth,
                         .columns = kStripColumns,
                         .scratch = scratch.data()},
                        set);
  });
  report(state, 2.0 * kRows * static_cast<double>(depth) * kStripColumns * rate, peak);
}

void benchmark_pack(benchmark::State& state, const InstructionSet& set, int64_t depth,
                    bool transposed) {
  const std::vector<Half> source(static_cast<size_t>(depth * kStripColumns),
                                 from_float<Half>(0.5f));
  std::vector<float> packed(static_cast<size_t>(cpu::packed_floats(depth, kStripColumns, set)));
  const double rate = call_rate(state, [&] {
    cpu::pack_columns({.source = source.data(),
                       .type = cpu::StoredType::kFloat16,
                       .row_stride = transposed ? 1 : kStripColumns,
                       .column_stride = transposed ? depth : 1,
                       .rows = depth,
                       .columns = kStripColumns,
                       .packed = packed.data(),
                       .depth = depth,
                       .weight_columns = kStripColumns},
                      set);
  });
  state.counters["bytes_per_second"] = static_cast<double>(depth * kStripColumns) * (2 + 4) * rate;
}

void benchmark_attention(benchmark::State& state, const InstructionSet& set, double peak) {
  const auto pattern = random_pattern<float>(12);
  const int64_t row = 3 * kHeadDim;
  std::vector<float> qkv(kWindow * row), out(kWindow * kHeadDim);
  for (size_t i = 0; i < qkv.size(); ++i) qkv[i] = pattern[i % pattern.size()];
  std::vector<float> scratch(static_cast<size_t>(cpu::attention_scratch(kWindow, kHeadDim)));
  const double rate = call_rate(state, [&] {
    cpu::causal_attention({.queries = qkv.data(),
                           .keys = qkv.data() + kHeadDim,
                           .values = qkv.data() + 2 * kHeadDim,
                           .query_stride = row,
                           .key_stride = row,
                           .out = out.data(),
                           .windows = 1,
                           .query_length = kWindow,
                           .key_length = kWindow,
                           .heads = 1,
                           .kv_heads = 1,
                           .head_dim = kHeadDim,
                           .scratch = scratch.data()},
                          0, 1, set);
  });
  report(state, 2.0 * kWindow * kWindow * kHeadDim * rate, peak);
}

// What is wanted of a row of logits of two streams, beside the products of a head that made them.
void benchmark_scores(benchmark::State& state, const InstructionSet& set, double peak) {
  constexpr int64_t kVocab = 12288, kHidden = 1024, kLogitRows = 64;
  auto base = random_pattern<float>(13, 3.0f), noise = random_pattern<float>(14, 0.02f);
  base.resize(kLogitRows * kVocab), noise.resize(kLogitRows * kVocab);
  std::vector<float> other(base.size()), forward(kLogitRows), reverse(kLogitRows);
  for (size_t i = 0; i < base.size(); ++i) other[i] = base[i] + noise[i];
  std::vector<int32_t> top(kLogitRows);
  std::vector<double> base_sum(kLogitRows), other_sum(kLogitRows);
  const auto score = [&](const std::vector<float>& logits, std::vector<double>& log_sum) {
    cpu::score_rows({.logits = logits.data(),
                     .stride = kVocab,
                     .rows = kLogitRows,
                     .vocab = kVocab,
                     .top = top.data(),
                     .log_sum = log_sum.data()},
                    0, kLogitRows, set);
  };
  const double rate = call_rate(state, [&] {
    score(base, base_sum);
    score(other, other_sum);
    cpu::diverge_rows({.base = base.data(),
                       .other = other.data(),
                       .base_stride = kVocab,
                       .other_stride = kVocab,
                       .base_log_sum = base_sum.data(),
                       .other_log_sum = other_sum.data(),
                       .rows = kLogitRows,
                       .vocab = kVocab,
                       .forward = forward.data(),
                       .reverse = reverse.data()},
                      0, kLogitRows, set);
  });
  state.counters["rows_per_second"] = rate * kLogitRows;
  if (peak > 0.0)
    state.counters["of_head"] = peak / (rate * kLogitRows * 2 * 2.0 * kHidden * kVocab);
}

template <typename Body>
void add(const std::string& name, Body body) {
  benchmark::RegisterBenchmark(name.c_str(), body)->Unit(benchmark::kMicrosecond);
}

}  // namespace

void add_cpu_products() {
  const double peak = multiply_add_peak();
  benchmark::AddCustomContext("multiply-adds of one CPU thread",
                              std::to_string(peak / 1e9) + " GFLOP/s");
  for (const InstructionSet* set : cpu::instruction_sets()) {
    using benchmark::State;
    const std::string machine = std::string("cpu_one_thread/"),
                      suffix = std::string("/") + set->name;
    for (const int64_t depth : {1024, 4096}) {
      const std::string size = "/" + std::to_string(depth) + suffix;
      add(machine + "matrix_product" + size,
          [=](State& state) { benchmark_product(state, *set, depth, peak); });
      for (const bool transposed : {false, true})
        add(machine + (transposed ? "pack_transposed" : "pack_columns") + size,
            [=](State& state) { benchmark_pack(state, *set, depth, transposed); });
    }
    add(machine + "causal_attention" + suffix,
        [=](State& state) { benchmark_attention(state, *set, peak); });
    add(machine + "score_rows" + suffix,
        [=](State& state) { benchmark_scores(state, *set, peak); });
  }
}

}  // namespace kvcalib::kernels
