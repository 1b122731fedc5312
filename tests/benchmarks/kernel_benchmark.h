// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <benchmark/benchmark.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/numeric.h"
#include "tests/benchmarks/bytes_moved.h"

// A kernel on a Machine, which is one of the classes of *_kernels.cpp:
//   Machine::kName, Machine::kTokens   how its rows are called, and how many tokens a call takes
//   Machine::kCalls                    calls between two looks at the clock
//   Machine::Array<T>(pattern, count)  an array in its memory that repeats a pattern; data()
//   seconds(arguments)                 the time of kCalls calls
//   copy_rate()                        bytes read and written per second by a plain copy
namespace kvcalib::kernels {

inline constexpr int64_t kWindow = 2048;  // tokens, as the program's --length

// The widths of a model's layer.
struct ModelShape {
  const char* name;
  int64_t hidden, heads, kv_heads, head_dim, intermediate;
};

inline constexpr std::array<ModelShape, 3> kModelShapes{{
    {"7B", 4096, 32, 32, 128, 11008},
    {"70B-GQA", 8192, 64, 8, 128, 28672},
    {"104B", 10240, 80, 80, 128, 27392},
}};

// Normally distributed values.
template <typename T>
std::vector<T> random_pattern(unsigned seed, float deviation = 1.0f) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> distribution(0.0f, deviation);
  std::vector<T> values(1 << 18);
  for (T& value : values) value = from_float<T>(distribution(generator));
  return values;
}

// Times the call until Google Benchmark has enough of it; returns the seconds of a call. between()
// runs after each look at the clock.
template <typename Machine, typename Arguments, typename Between>
double measure(benchmark::State& state, Machine& machine, const Arguments& arguments,
               Between between) {
  machine.seconds(arguments);  // caches, page tables and clock rates settle
  double seconds = 0.0;
  while (state.KeepRunningBatch(Machine::kCalls)) {
    const double taken = machine.seconds(arguments);
    state.SetIterationTime(taken);
    seconds += taken;
    between();
  }
  const double calls = static_cast<double>(state.iterations());
  const double rate = static_cast<double>(bytes_moved(arguments)) * calls / seconds;
  state.counters["bytes_per_second"] = rate;
  state.counters["of_copy"] = rate / machine.copy_rate();
  return seconds / calls;
}

// The residual addition and the normalisation in one, as between two halves of a layer.
template <typename Machine, typename T>
void benchmark_rms_norm(benchmark::State& state, Machine& machine, const ModelShape& shape) {
  using Array = typename Machine::template Array<T>;
  const int64_t count = Machine::kTokens * shape.hidden;
  Array hidden(random_pattern<T>(1), count), delta(random_pattern<T>(2), count);
  Array weight(random_pattern<T>(3), shape.hidden), out(random_pattern<T>(4), count);
  typename Machine::template Array<int> nonfinite({0}, 1);
  RmsNormArguments<T> arguments;
  arguments.hidden = hidden.data();
  arguments.delta = delta.data();
  arguments.weight = weight.data();
  arguments.out = out.data();
  arguments.tokens = Machine::kTokens;
  arguments.width = shape.hidden;
  arguments.epsilon = 1e-5f;
  arguments.nonfinite = nonfinite.data();
  measure(state, machine, arguments, [] {});
}

template <typename Machine, typename T>
void benchmark_swiglu(benchmark::State& state, Machine& machine, const ModelShape& shape) {
  using Array = typename Machine::template Array<T>;
  const int64_t count = Machine::kTokens * shape.intermediate;
  Array gate_up(random_pattern<T>(5), 2 * count), out(random_pattern<T>(6), count);
  measure(state, machine,
          SwigluArguments<T>{gate_up.data(), out.data(), Machine::kTokens, shape.intermediate},
          [] {});
}

// The operands of rotary_observe.
template <typename Machine, typename T>
class RotaryOperands {
 public:
  explicit RotaryOperands(const ModelShape& shape)
      : shape_(shape),
        qkv_(random_pattern<T>(7), Machine::kTokens * columns()),
        // Too small to move values that it is added to a thousand times.
        bias_(random_pattern<T>(8, 1e-6f), columns()),
        cosine_(angles(shape, [](double angle) { return std::cos(angle); }), table_size()),
        sine_(angles(shape, [](double angle) { return std::sin(angle); }), table_size()),
        positions_(window_positions(), Machine::kTokens),
        ranges_({0.0f}, 4 * channels()),
        nonfinite_({0}, 1) {}

  RotaryObserveArguments<T> arguments(bool with_bias, bool observed) {
    RotaryObserveArguments<T> result;
    result.qkv = qkv_.data();
    result.bias = with_bias ? bias_.data() : nullptr;
    result.positions = positions_.data();
    result.cosine = cosine_.data();
    result.sine = sine_.data();
    result.tokens = Machine::kTokens;
    result.length = kWindow;
    result.row_stride = columns();
    result.heads = shape_.heads;
    result.kv_heads = shape_.kv_heads;
    result.head_dim = shape_.head_dim;
    result.nonfinite = nonfinite_.data();
    if (observed) {
      result.keys = {ranges_.data(), ranges_.data() + channels()};
      result.values = {ranges_.data() + 2 * channels(), ranges_.data() + 3 * channels()};
    }
    return result;
  }

  PairReachArguments<T> reach_arguments(float* reach) {
    return {.qkv = qkv_.data(),
            .positions = positions_.data(),
            .cosine = cosine_.data(),
            .sine = sine_.data(),
            .tokens = Machine::kTokens,
            .length = kWindow,
            .row_stride = columns(),
            .heads = shape_.heads,
            .kv_heads = shape_.kv_heads,
            .head_dim = shape_.head_dim,
            .reach = reach};
  }

 private:
  int64_t columns() const { return (shape_.heads + 2 * shape_.kv_heads) * shape_.head_dim; }
  int64_t channels() const { return shape_.kv_heads * shape_.head_dim; }
  int64_t table_size() const { return kWindow * shape_.head_dim / 2; }

  static std::vector<int32_t> window_positions() {
    std::vector<int32_t> positions(kWindow);
    std::iota(positions.begin(), positions.end(), 0);
    return positions;
  }

  template <typename Function>
  static std::vector<float> angles(const ModelShape& shape, Function function) {
    std::vector<float> table;
    for (int64_t position = 0; position < kWindow; ++position) {
      for (int64_t j = 0; j < shape.head_dim; j += 2) {
        const double turn = static_cast<double>(j) / static_cast<double>(shape.head_dim);
        const double angle = static_cast<double>(position) * std::pow(10000.0, -turn);
        table.push_back(static_cast<float>(function(angle)));
      }
    }
    return table;
  }

  ModelShape shape_;
  typename Machine::template Array<T> qkv_, bias_;
  typename Machine::template Array<float> cosine_, sine_;
  typename Machine::template Array<int32_t> positions_;
  typename Machine::template Array<float> ranges_;
  typename Machine::template Array<int> nonfinite_;
};

// With ranges; `observer_cost` comes from timing calls with and without them in turn.
template <typename Machine, typename T>
void benchmark_rotary_observe(benchmark::State& state, Machine& machine, const ModelShape& shape,
                              bool with_bias) {
  RotaryOperands<Machine, T> operands(shape);
  const auto unobserved = operands.arguments(with_bias, false);
  double unobserved_seconds = 0.0;
  const double seconds = measure(state, machine, operands.arguments(with_bias, true),
                                 [&] { unobserved_seconds += machine.seconds(unobserved); });
  const double calls = static_cast<double>(state.iterations());
  state.counters["observer_cost"] = seconds * calls / unobserved_seconds - 1.0;
}

// Without ranges.
template <typename Machine, typename T>
void benchmark_rotary_only(benchmark::State& state, Machine& machine, const ModelShape& shape,
                           bool with_bias) {
  RotaryOperands<Machine, T> operands(shape);
  measure(state, machine, operands.arguments(with_bias, false), [] {});
}

// How far K's pairs reach.
template <typename Machine, typename T>
void benchmark_pair_reach(benchmark::State& state, Machine& machine, const ModelShape& shape) {
  RotaryOperands<Machine, T> operands(shape);
  typename Machine::template Array<float> reach(
      {0.0f}, kReachDirections * shape.kv_heads * shape.head_dim / 2);
  measure(state, machine, operands.reach_arguments(reach.data()), [] {});
}

// K and V go through int8; not on the CPU.
template <typename Machine, typename T>
void benchmark_rotary_codes(benchmark::State& state, Machine& machine, const ModelShape& shape) {
  using Floats = typename Machine::template Array<float>;
  RotaryOperands<Machine, T> operands(shape);
  const int64_t channels = shape.kv_heads * shape.head_dim;
  Floats scale({4.0f / 127.0f}, channels), zero({0.125f}, channels);
  typename Machine::template Array<CodeCount> counts({CodeCount()}, shape.kv_heads);
  auto arguments = operands.arguments(false, false);
  arguments.key_codes = {scale.data(), zero.data(), counts.data()};
  arguments.value_codes = arguments.key_codes;
  measure(state, machine, arguments, [] {});
}

// K and V of a layer, side by side behind q.
template <typename Machine, typename T>
void benchmark_quantize(benchmark::State& state, Machine& machine, const ModelShape& shape,
                        CacheCode code, bool counted) {
  using Floats = typename Machine::template Array<float>;
  const int64_t queries = shape.heads * shape.head_dim;
  QuantizeDequantizeArguments<T> arguments;
  arguments.tokens = Machine::kTokens;
  arguments.kv_heads = 2 * shape.kv_heads;
  arguments.head_dim = shape.head_dim;
  arguments.row_stride = queries + arguments.columns();
  arguments.code = code;
  typename Machine::template Array<T> qkv(random_pattern<T>(11),
                                          Machine::kTokens * arguments.row_stride);
  Floats scale({4.0f / 127.0f}, arguments.columns()), zero({0.125f}, arguments.columns());
  typename Machine::template Array<CodeCount> counts({CodeCount()}, arguments.kv_heads);
  arguments.values = qkv.data() + queries;
  if (code == CacheCode::kInt8 || code == CacheCode::kFloat8) arguments.scale = scale.data();
  if (code == CacheCode::kInt8) arguments.zero = zero.data();
  if (counted) arguments.counts = counts.data();
  measure(state, machine, arguments, [] {});
}

// A rate as it is printed: 1234.5 GB/s.
inline std::string rate_text(double bytes_per_second) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f GB/s", bytes_per_second / 1e9);
  return text.data();
}

// Adds the row MACHINE/KERNEL/MODEL/TYPE, whose body takes the machine and a shape.
template <typename Machine, typename Body>
void add_row(const std::shared_ptr<Machine>& machine, const std::string& kernel,
             const ModelShape& shape, const std::string& type, Body body) {
  const std::string name =
      std::string(Machine::kName) + "/" + kernel + "/" + shape.name + "/" + type;
  const auto run = [machine, shape, body](benchmark::State& state) {
    try {
      body(state, *machine, shape);
    } catch (const std::exception& failure) {
      state.SkipWithError(failure.what());
    }
  };
  benchmark::RegisterBenchmark(name.c_str(), run)->UseManualTime()->Unit(benchmark::kMicrosecond);
}

// The rows of the kernels that CPU and GPU both have.
template <typename Machine, typename T>
void add_rows(const std::shared_ptr<Machine>& machine, const std::string& type) {
  using benchmark::State;
  for (const ModelShape& shape : kModelShapes) {
    add_row(machine, "rms_norm", shape, type, benchmark_rms_norm<Machine, T>);
    for (const bool bias : {false, true}) {
      const std::string suffix = bias ? "_bias" : "";
      add_row(machine, "rotary_only" + suffix, shape, type,
              [bias](State& state, Machine& on, const ModelShape& model) {
                benchmark_rotary_only<Machine, T>(state, on, model, bias);
              });
      add_row(machine, "rotary_observe" + suffix, shape, type,
              [bias](State& state, Machine& on, const ModelShape& model) {
                benchmark_rotary_observe<Machine, T>(state, on, model, bias);
              });
    }
    add_row(machine, "pair_reach", shape, type, benchmark_pair_reach<Machine, T>);
    add_row(machine, "swiglu", shape, type, benchmark_swiglu<Machine, T>);
    const auto add_quantize = [&](const std::string& suffix, CacheCode code, bool counted) {
      add_row(machine, "quantize_" + suffix, shape, type,
              [code, counted](State& state, Machine& on, const ModelShape& model) {
                benchmark_quantize<Machine, T>(state, on, model, code, counted);
              });
    };
    add_quantize("int8", CacheCode::kInt8, false);
    add_quantize("int8_counted", CacheCode::kInt8, true);
    add_quantize("int8_of_token_counted", CacheCode::kInt8OfToken, true);
    add_quantize("float8", CacheCode::kFloat8, false);
  }
}

// Add the rows of a machine, and its plain copy to what is printed above them.
void add_cpu_kernels();
void add_cpu_products();
void add_gpu_kernels();

}  // namespace kvcalib::kernels
