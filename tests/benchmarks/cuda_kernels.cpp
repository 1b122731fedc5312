// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cuda_check.h"
#include "tests/benchmarks/cache_benchmark.h"

namespace kvcalib::kernels {
namespace {

// The current GPU and a stream of its own.  The activations of kTokens fit no cache of tens of
// megabytes.
class Gpu {
 public:
  static constexpr const char* kName = "gpu";
  static constexpr int64_t kTokens = 16384;
  static constexpr int kCalls = 20;  // hide what a launch costs the host
  static constexpr int64_t kDecodeRows = 32;

  template <typename T>
  class Array {
   public:
    Array(const std::vector<T>& pattern, int64_t count) {
      const size_t bytes = static_cast<size_t>(count) * sizeof(T);
      CUDA_CHECK(cudaMalloc(&memory_, bytes));
      size_t done = std::min(bytes, pattern.size() * sizeof(T));
      CUDA_CHECK(cudaMemcpy(memory_, pattern.data(), done, cudaMemcpyHostToDevice));
      for (; done < bytes; done = std::min(bytes, 2 * done)) {
        CUDA_CHECK(cudaMemcpy(static_cast<char*>(memory_) + done, memory_,
                              std::min(done, bytes - done), cudaMemcpyDeviceToDevice));
      }
      CUDA_CHECK(cudaDeviceSynchronize());
    }
    ~Array() { cudaFree(memory_); }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;

    T* data() { return static_cast<T*>(memory_); }

   private:
    void* memory_ = nullptr;
  };

  Gpu() {
    CUDA_CHECK(cudaStreamCreate(&stream_));
    CUDA_CHECK(cudaEventCreate(&start_));
    CUDA_CHECK(cudaEventCreate(&stop_));
    copy_rate_ = best_copy_rate();
  }
  ~Gpu() {
    cudaEventDestroy(stop_);
    cudaEventDestroy(start_);
    cudaStreamDestroy(stream_);
  }
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  template <typename Arguments>
  double seconds(const Arguments& arguments) {
    return seconds_of([&] { call(arguments); });
  }

  double copy_rate() const { return copy_rate_; }

  static int64_t decode_scratch(const ModelShape& shape, int64_t rows) {
    return decode_attention_scratch(rows, shape.heads, shape.head_dim, kWindow);
  }

 private:
  template <typename T>
  void call(const RmsNormArguments<T>& arguments) {
    rms_norm(arguments, stream_);
  }
  template <typename T>
  void call(const RotaryObserveArguments<T>& arguments) {
    rotary_observe(arguments, stream_);
  }
  template <typename T>
  void call(const PairReachArguments<T>& arguments) {
    pair_reach(arguments, stream_);
  }
  template <typename T>
  void call(const SwigluArguments<T>& arguments) {
    swiglu(arguments, stream_);
  }
  template <typename T>
  void call(const QuantizeDequantizeArguments<T>& arguments) {
    quantize_dequantize(arguments, stream_);
  }
  template <typename T>
  void call(const CacheStoreArguments<T>& arguments) {
    cache_store(arguments, stream_);
  }
  template <typename T>
  void call(const CacheLoadArguments<T>& arguments) {
    cache_load(arguments, stream_);
  }
  template <typename T>
  void call(const DecodeAttentionArguments<T>& arguments) {
    decode_attention(arguments, stream_);
  }

  template <typename Launch>
  double seconds_of(Launch launch) {
    CUDA_CHECK(cudaEventRecord(start_, stream_));
    for (int i = 0; i < kCalls; ++i) launch();
    CUDA_CHECK(cudaEventRecord(stop_, stream_));
    CUDA_CHECK(cudaEventSynchronize(stop_));
    float milliseconds = 0.0f;
    CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start_, stop_));
    return static_cast<double>(milliseconds) / 1e3;
  }

  double best_copy_rate() {
    constexpr int64_t kCount = int64_t{1} << 28;
    constexpr size_t kBytes = kCount * sizeof(float);
    Array<float> from(random_pattern<float>(9), kCount), to({0.0f}, kCount);
    double best = 0.0;
    for (int attempt = 0; attempt < 5; ++attempt) {
      const double seconds = seconds_of([&] {
        CUDA_CHECK(
            cudaMemcpyAsync(to.data(), from.data(), kBytes, cudaMemcpyDeviceToDevice, stream_));
      });
      best = std::max(best, 2.0 * kBytes * kCalls / seconds);
    }
    return best;
  }

  cudaStream_t stream_ = nullptr;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
  double copy_rate_ = 0.0;
};

// Why there is no GPU to measure; empty when there is one.
std::string missing_gpu() {
  int devices = 0;
  const cudaError_t code = cudaGetDeviceCount(&devices);
  if (code != cudaSuccess) {
    cudaGetLastError();
    return std::string("no GPU: ") + cudaGetErrorString(code);
  }
  return devices == 0 ? "no GPU: none is visible" : "";
}

}  // namespace

void add_gpu_kernels() {
  const std::string missing = missing_gpu();
  if (!missing.empty()) {
    benchmark::RegisterBenchmark(
        Gpu::kName, [missing](benchmark::State& state) { state.SkipWithError(missing.c_str()); });
    return;
  }
  const auto machine = std::make_shared<Gpu>();
  cudaDeviceProp properties{};
  CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  benchmark::AddCustomContext(std::string("copy on ") + properties.name,
                              rate_text(machine->copy_rate()));
  add_rows<Gpu, Half>(machine, "fp16");
  add_rows<Gpu, Bfloat16>(machine, "bf16");
  add_cache_rows<Gpu, Half>(machine, "fp16");
  add_cache_rows<Gpu, Bfloat16>(machine, "bf16");
  for (const ModelShape& shape : kModelShapes) {
    add_row(machine, "rotary_codes", shape, "fp16", benchmark_rotary_codes<Gpu, Half>);
    add_row(machine, "rotary_codes", shape, "bf16", benchmark_rotary_codes<Gpu, Bfloat16>);
  }
}

}  // namespace kvcalib::kernels
