// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_runtime_api.h>

#include <stdexcept>
#include <string>

namespace kvcalib::kernels {

// A CUDA runtime call that failed: what() holds the call, its place, the error's name and its text.
class CudaError : public std::runtime_error {
 public:
  CudaError(cudaError_t code, const char* call, const char* file, int line)
      : std::runtime_error(std::string(call) + " failed at " + file + ":" + std::to_string(line) +
                           ": " + cudaGetErrorName(code) + ": " + cudaGetErrorString(code)),
        code_(code) {}

  cudaError_t code() const { return code_; }

 private:
  cudaError_t code_;
};

inline void check_cuda(cudaError_t code, const char* call, const char* file, int line) {
  if (code != cudaSuccess) throw CudaError(code, call, file, line);
}

}  // namespace kvcalib::kernels

// Runs a CUDA runtime call; throws kvcalib::kernels::CudaError when it fails.
#define CUDA_CHECK(call) ::kvcalib::kernels::check_cuda((call), #call, __FILE__, __LINE__)
