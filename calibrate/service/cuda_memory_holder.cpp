// SPDX-License-Identifier: Apache-2.0
#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include <array>
#include <limits>
#include <vector>

#include "calibrate/service/driver_memory.h"
#include "calibrate/service/memory_holder.h"
#include "kernels/cuda_check.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr size_t kWorkspace = size_t{32} << 20U;  // that TurboMind gives cuBLAS

void check_cublas(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(concat(call, " failed: ", cublasGetStatusString(status),
                       "; is the GPU full or held by another program?"));
}

std::string bus_of(int gpu) {
  std::array<char, 32> text{};
  CUDA_CHECK(cudaDeviceGetPCIBusId(text.data(), static_cast<int>(text.size()), gpu));
  return text.data();
}

// What holds memory of one GPU, which is this thread's current one.
class Pieces {
 public:
  Pieces() { CUDA_CHECK(cudaStreamCreate(&stream_)); }
  Pieces(const Pieces&) = delete;
  Pieces& operator=(const Pieces&) = delete;
  ~Pieces() {
    for (const Piece& piece : pieces_) give_back(piece);
    cudaStreamDestroy(stream_);
  }

  cudaStream_t stream() const { return stream_; }

  // Null: there is not so much left.
  void* take(uint64_t bytes, Taking taking) {
    void* pointer = nullptr;
    const bool pooled = taking == Taking::kPooled;
    const cudaError_t taken =
        pooled ? cudaMallocAsync(&pointer, bytes, stream_) : cudaMalloc(&pointer, bytes);
    if (taken == cudaErrorMemoryAllocation) {
      cudaGetLastError();  // else the next call would report it again
      return nullptr;
    }
    kernels::check_cuda(taken, pooled ? "cudaMallocAsync" : "cudaMalloc", __FILE__, __LINE__);
    pieces_.push_back({pointer, pooled});
    CUDA_CHECK(cudaMemsetAsync(pointer, 0, bytes, stream_));
    return pointer;
  }

  void release() {
    while (!pieces_.empty()) {
      const Piece piece = pieces_.back();
      pieces_.pop_back();
      CUDA_CHECK(give_back(piece));
    }
    CUDA_CHECK(cudaStreamSynchronize(stream_));
  }

 private:
  struct Piece {
    void* pointer;
    bool pooled;
  };

  cudaError_t give_back(const Piece& piece) const {
    return piece.pooled ? cudaFreeAsync(piece.pointer, stream_) : cudaFree(piece.pointer);
  }

  cudaStream_t stream_ = nullptr;
  std::vector<Piece> pieces_;
};

// A cuBLAS handle that has computed once, so that all that it takes is taken.
class Cublas {
 public:
  explicit Cublas(cudaStream_t stream) {
    check_cublas(cublasCreate(&handle_), "cublasCreate");
    try {
      check_cublas(cublasSetStream(handle_, stream), "cublasSetStream");
    } catch (...) {
      cublasDestroy(handle_);
      throw;
    }
  }
  Cublas(const Cublas&) = delete;
  Cublas& operator=(const Cublas&) = delete;
  ~Cublas() { cublasDestroy(handle_); }

  void work(void* workspace) {
    check_cublas(cublasSetWorkspace(handle_, workspace, kWorkspace), "cublasSetWorkspace");
  }

  // `matrices`: a square of 16-bit zeros, and behind it one for the product.
  void multiply(void* matrices) {
    const float one = 1, zero = 0;
    void* const product = static_cast<char*>(matrices) + kMatrix;
    check_cublas(cublasGemmEx(handle_, CUBLAS_OP_N, CUBLAS_OP_N, kSide, kSide, kSide, &one,
                              matrices, CUDA_R_16F, kSide, matrices, CUDA_R_16F, kSide, &zero,
                              product, CUDA_R_16F, kSide, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT),
                 "cublasGemmEx");
  }

  static constexpr int kSide = 128;
  static constexpr size_t kMatrix = size_t{2} * kSide * kSide;  // bytes

 private:
  cublasHandle_t handle_ = nullptr;
};

// The pool that cudaMallocAsync takes from, which keeps what it has as in TurboMind's allocator.h.
cudaMemPool_t keeping_pool(int gpu) {
  int supported = 0;
  CUDA_CHECK(cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, gpu));
  if (supported == 0)
    throw Error(concat("--memory: GPU ", gpu, " has no pools of memory (cudaMallocAsync), ",
                       "which the runtime takes its cache from; measure on another GPU"));
  cudaMemPool_t pool = nullptr;
  CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool, gpu));
  uint64_t kept = std::numeric_limits<uint64_t>::max();
  CUDA_CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept));
  return pool;
}

// Makes a context, from which on this thread's current GPU is that one.
int made_current(int gpu) {
  CUDA_CHECK(cudaSetDevice(gpu));
  CUDA_CHECK(cudaFree(nullptr));
  return gpu;
}

class CudaMemoryHolder : public MemoryHolder {
 public:
  explicit CudaMemoryHolder(int gpu)
      : bus_(bus_of(gpu)),
        free_before_(driver_free_bytes(bus_)),
        gpu_(made_current(gpu)),
        pool_(keeping_pool(gpu)),
        cublas_(own_.stream()) {
    void* const workspace = own_.take(kWorkspace, Taking::kPooled);
    if (workspace == nullptr) throw Error(concat("--memory: GPU ", gpu, " has no memory left"));
    cublas_.work(workspace);
    warm_up();
    if (const std::optional<uint64_t> left = driver_free_bytes(bus_);
        left && free_before_ && *left < *free_before_)
      context_ = *free_before_ - *left;
  }

  std::string name() const override {
    cudaDeviceProp properties{};
    CUDA_CHECK(cudaGetDeviceProperties(&properties, gpu_));
    return properties.name;
  }

  std::optional<uint64_t> context_bytes() const override { return context_; }

  CardMemory memory() override {
    CUDA_CHECK(cudaDeviceSynchronize());
    size_t free_bytes = 0, total_bytes = 0;
    CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
    return {total_bytes - free_bytes, total_bytes};
  }

  bool hold(uint64_t bytes, Taking taking) override {
    return pieces_.take(bytes, taking) != nullptr;
  }

  void release() override {
    pieces_.release();
    CUDA_CHECK(cudaMemPoolTrimTo(pool_, 0));
  }

 private:
  // What the driver takes at the first use of each kind.
  void warm_up() {
    void* const matrices = pieces_.take(2 * Cublas::kMatrix, Taking::kAlone);
    if (matrices == nullptr || !hold(kWorkspace, Taking::kPooled))
      throw Error(concat("--memory: GPU ", gpu_, " has no memory left"));
    CUDA_CHECK(cudaStreamSynchronize(pieces_.stream()));
    cublas_.multiply(matrices);
    CUDA_CHECK(cudaDeviceSynchronize());
    release();
  }

  std::string bus_;
  std::optional<uint64_t> free_before_;  // of the GPU, before this process had a context
  int gpu_;
  cudaMemPool_t pool_;  // the device's own, never destroyed
  Pieces own_;          // the workspace
  Pieces pieces_;
  Cublas cublas_;
  std::optional<uint64_t> context_;
};

}  // namespace

std::unique_ptr<MemoryHolder> open_memory_holder(int gpu) {
  return std::make_unique<CudaMemoryHolder>(gpu);
}

}  // namespace kvcalib
