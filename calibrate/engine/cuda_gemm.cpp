// SPDX-License-Identifier: Apache-2.0
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/Exceptions.h>
#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>

#include "calibrate/engine/gpu_gemm.h"

namespace kvcalib {
namespace {

constexpr uint32_t kLargestAlignment = 16;  // of any access that a kernel makes

template <auto destroy>
struct Destroy {
  template <typename T>
  void operator()(T* handle) const {
    destroy(handle);
  }
};
using Operation = std::unique_ptr<cublasLtMatmulDescOpaque_t, Destroy<cublasLtMatmulDescDestroy>>;
using Layout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Destroy<cublasLtMatrixLayoutDestroy>>;
using Preference =
    std::unique_ptr<cublasLtMatmulPreferenceOpaque_t, Destroy<cublasLtMatmulPreferenceDestroy>>;

Operation make_operation() {
  cublasLtMatmulDesc_t operation = nullptr;
  TORCH_CUDABLAS_CHECK(cublasLtMatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  return Operation(operation);
}

cudaDataType data_type(at::ScalarType type) {
  switch (type) {
    case at::kHalf:
      return CUDA_R_16F;
    case at::kBFloat16:
      return CUDA_R_16BF;
    default:
      TORCH_CHECK(type == at::kFloat, "gpu_gemm: a matrix of ", type);
      return CUDA_R_32F;
  }
}

// cuBLAS counts by columns: a row-major matrix is its transpose.
Layout transposed(const at::Tensor& matrix, uint64_t rows) {
  TORCH_CHECK(matrix.stride(1) == 1, "gpu_gemm: elements of a row must be neighbours");
  cublasLtMatrixLayout_t layout = nullptr;
  TORCH_CUDABLAS_CHECK(cublasLtMatrixLayoutCreate(&layout, data_type(matrix.scalar_type()),
                                                  static_cast<uint64_t>(matrix.size(1)), rows,
                                                  matrix.stride(0)));
  return Layout(layout);
}

// Bytes to which every row of the matrix is aligned.
uint32_t alignment(const at::Tensor& matrix) {
  const auto bits = reinterpret_cast<uintptr_t>(matrix.data_ptr()) |
                    static_cast<uintptr_t>(matrix.stride(0) * matrix.element_size());
  return std::min<uint32_t>(kLargestAlignment, static_cast<uint32_t>(bits & -bits));
}

void set(const Preference& preference, cublasLtMatmulPreferenceAttributes_t name, uint32_t value) {
  TORCH_CUDABLAS_CHECK(
      cublasLtMatmulPreferenceSetAttribute(preference.get(), name, &value, sizeof(value)));
}

// What the choice of an algorithm follows from.
struct Product {
  int64_t depth, columns;
  at::ScalarType type, out_type;
  uint32_t weight_alignment, x_alignment, out_alignment;
  int64_t weight_stride, x_stride, out_stride;
  int64_t chosen_for;

  bool operator<(const Product& other) const { return key() < other.key(); }

 private:
  std::array<int64_t, 11> key() const {
    return {depth,
            columns,
            static_cast<int64_t>(type),
            static_cast<int64_t>(out_type),
            weight_stride,
            x_stride,
            out_stride,
            weight_alignment,
            x_alignment,
            out_alignment,
            chosen_for};
  }
};

cublasLtMatmulAlgo_t find_algorithm(cublasLtHandle_t handle, const Operation& operation,
                                    const at::Tensor& x, const at::Tensor& weight,
                                    const at::Tensor& out, const Product& product) {
  cublasLtMatmulPreference_t created = nullptr;
  TORCH_CUDABLAS_CHECK(cublasLtMatmulPreferenceCreate(&created));
  const Preference preference(created);
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_NONE);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, product.weight_alignment);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, product.x_alignment);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, product.out_alignment);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, product.out_alignment);
  const auto rows = static_cast<uint64_t>(product.chosen_for);
  const Layout a = transposed(weight, static_cast<uint64_t>(weight.size(0)));
  const Layout b = transposed(x, rows);
  const Layout c = transposed(out, rows);
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  TORCH_CUDABLAS_CHECK(cublasLtMatmulAlgoGetHeuristic(handle, operation.get(), a.get(), b.get(),
                                                      c.get(), c.get(), preference.get(), 1,
                                                      &result, &found));
  TORCH_CHECK(found == 1, "cuBLASLt knows no algorithm for [", product.depth, ", ", product.columns,
              "]");
  return result.algo;
}

// Asked for once: a step of decoding would wait for it.
const cublasLtMatmulAlgo_t& choose_algorithm(cublasLtHandle_t handle, const Operation& operation,
                                             const at::Tensor& x, const at::Tensor& weight,
                                             const at::Tensor& out, int64_t chosen_for) {
  thread_local std::map<Product, cublasLtMatmulAlgo_t> chosen;
  const Product product{x.size(1),         weight.size(1), x.scalar_type(), out.scalar_type(),
                        alignment(weight), alignment(x),   alignment(out),  weight.stride(0),
                        x.stride(0),       out.stride(0),  chosen_for};
  const auto found = chosen.find(product);
  if (found != chosen.end()) return found->second;
  return chosen.emplace(product, find_algorithm(handle, operation, x, weight, out, product))
      .first->second;
}

}  // namespace

void gpu_gemm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& out, bool accumulate,
              int64_t chosen_for) {
  TORCH_CHECK(x.scalar_type() == weight.scalar_type() &&
                  (x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16) &&
                  (out.scalar_type() == x.scalar_type() || out.scalar_type() == at::kFloat),
              "gpu_gemm: one 16-bit type, or float32 for out alone");
  if (x.size(0) == 0) return;
  const cublasLtHandle_t handle = at::cuda::getCurrentCUDABlasLtHandle();
  const Operation operation = make_operation();
  const cublasLtMatmulAlgo_t& algorithm =
      choose_algorithm(handle, operation, x, weight, out, chosen_for);
  const Layout a = transposed(weight, static_cast<uint64_t>(weight.size(0)));
  const Layout b = transposed(x, static_cast<uint64_t>(x.size(0)));
  const Layout c = transposed(out, static_cast<uint64_t>(x.size(0)));
  const float alpha = 1.0F;
  const float beta = accumulate ? 1.0F : 0.0F;
  TORCH_CUDABLAS_CHECK(cublasLtMatmul(
      handle, operation.get(), &alpha, weight.data_ptr(), a.get(), x.data_ptr(), b.get(), &beta,
      out.data_ptr(), c.get(), out.data_ptr(), c.get(), &algorithm, /*workspace=*/nullptr,
      /*workspaceSizeInBytes=*/0, at::cuda::getCurrentCUDAStream()));
}

}  // namespace kvcalib
