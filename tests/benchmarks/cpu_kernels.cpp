// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "kernels/instruction_set.h"
#include "tests/benchmarks/cache_benchmark.h"

namespace kvcalib::kernels {
namespace {

double now() {
  const auto since_start = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since_start).count();
}

// The CPU twins as one thread of the program runs them: a kernel knows no threads.  Their rate is
// compared with the copy of all threads together.
class OneCpuThread {
 public:
  static constexpr const char* kName = "cpu_one_thread";
  static constexpr int64_t kTokens = 2048;
  static constexpr int kCalls = 1;
  static constexpr int64_t kDecodeRows = 4;

  template <typename T>
  class Array {
   public:
    Array(const std::vector<T>& pattern, int64_t count) {
      values_.reserve(static_cast<size_t>(count));
      for (auto left = static_cast<size_t>(count); left > 0; left = count - values_.size()) {
        values_.insert(values_.end(), pattern.begin(),
                       pattern.begin() + std::min(left, pattern.size()));
      }
    }
    T* data() { return values_.data(); }

   private:
    std::vector<T> values_;
  };

  OneCpuThread() : copy_rate_(best_copy_rate()) {}

  template <typename Arguments>
  double seconds(const Arguments& arguments) {
    const double start = now();
    call(arguments);
    return now() - start;
  }

  double copy_rate() const { return copy_rate_; }

  static int64_t decode_scratch(const ModelShape& shape, int64_t /*rows*/) {
    return cpu::decode_attention_scratch(shape.heads, shape.kv_heads, shape.head_dim);
  }

 private:
  template <typename T>
  static void call(const RmsNormArguments<T>& arguments) {
    cpu::rms_norm(arguments, 0, arguments.tokens);
  }
  template <typename T>
  static void call(const RotaryObserveArguments<T>& arguments) {
    cpu::rotary_observe(arguments, 0, arguments.tokens);
  }
  template <typename T>
  static void call(const PairReachArguments<T>& arguments) {
    cpu::pair_reach(arguments, 0, arguments.tokens);
  }
  template <typename T>
  static void call(const SwigluArguments<T>& arguments) {
    cpu::swiglu(arguments, 0, arguments.tokens);
  }
  template <typename T>
  static void call(const QuantizeDequantizeArguments<T>& arguments) {
    cpu::quantize_dequantize(arguments, 0, arguments.tokens);
  }
  template <typename T>
  static void call(const CacheStoreArguments<T>& arguments) {
    cpu::cache_store(arguments, 0, arguments.tokens);
  }
  template <typename T>
  static void call(const CacheLoadArguments<T>& arguments) {
    cpu::cache_load(arguments, 0, arguments.tokens);
  }
  static void call(const DecodeAttentionArguments<float>& arguments) {
    cpu::decode_attention(arguments, 0, arguments.tasks(), cpu::fastest_instruction_set());
  }
  static void call(const Nonfinite16Arguments& arguments) {
    cpu::nonfinite16(arguments, 0, arguments.count);
  }

  static void copy(float* to, const float* from, size_t count, size_t threads) {
    std::vector<std::jthread> workers;
    for (size_t i = 0; i < threads; ++i) {
      const size_t first = count * i / threads;
      const size_t last = count * (i + 1) / threads;
      workers.emplace_back(
          [=] { std::memcpy(to + first, from + first, (last - first) * sizeof(float)); });
    }
  }

  static double best_copy_rate() {
    constexpr size_t kCount = size_t{1} << 26;  // 256 MB: more than caches hold
    constexpr double kBytes = 2.0 * kCount * sizeof(float);
    const size_t threads = std::max(1u, std::thread::hardware_concurrency());
    Array<float> from(random_pattern<float>(9), kCount), to({0.0f}, kCount);
    double best = 0.0;
    for (int attempt = 0; attempt < 10; ++attempt) {
      const double start = now();
      copy(to.data(), from.data(), kCount, threads);
      best = std::max(best, kBytes / (now() - start));
    }
    return best;
  }

  double copy_rate_;
};

void benchmark_nonfinite16(benchmark::State& state, OneCpuThread& machine,
                           const ModelShape& shape) {
  const int64_t count = shape.hidden * shape.intermediate;
  OneCpuThread::Array<Half> weight(random_pattern<Half>(10, 0.02f), count);
  int found = 0;
  const Nonfinite16Arguments arguments{reinterpret_cast<const uint16_t*>(weight.data()), count,
                                       kHalfExponent, &found};
  measure(state, machine, arguments, [] {});
}

}  // namespace

void add_cpu_kernels() {
  const auto machine = std::make_shared<OneCpuThread>();
  benchmark::AddCustomContext("copy on all CPU threads", rate_text(machine->copy_rate()));
  add_rows<OneCpuThread, float>(machine, "fp32");
  add_cache_rows<OneCpuThread, float>(machine, "fp32");
  for (const ModelShape& shape : kModelShapes) {
    add_row(machine, "quantize_sixteen_bits", shape, "fp32",
            [](benchmark::State& state, OneCpuThread& on, const ModelShape& model) {
              benchmark_quantize<OneCpuThread, float>(state, on, model, CacheCode::kSixteenBits,
                                                      false);
            });
    add_row(machine, "nonfinite16", shape, "fp16", benchmark_nonfinite16);
  }
}

}  // namespace kvcalib::kernels
