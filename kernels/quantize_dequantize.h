// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cache_codes.h"
#include "kernels/require.h"
#include "kernels/stream.h"

namespace kvcalib::kernels {

// The arguments of what a cache does to K or to V, in place: x is rounded to the 16-bit type, and
// what is read back of it, x', is rounded to it too.  In fp32 and without fused multiply-adds:
//   kSixteenBits  x' = x
//   kInt8         t = (x - zero) / scale of its channel, q = t rounded to even, at least -128 and
//                 at most 127, x' = q scale + zero
//   kInt8OfToken  the same of each token and head on its own, with scale = (max - min) / 255 and
//                 zero = (max + min) 0.5 + scale 0.5 of its channels; where scale is 0, x' = x
//   kFloat8       x' = e4m3(x / scale) scale of its channel: rounded to even, at most +-448
// NaN stays NaN.  For kInt8OfToken the other channels' range leaves it out, while infinities and a
// range that is wider than fp32 can say make NaN of their whole head.
template <typename T>
struct QuantizeDequantizeArguments {
  T* values = nullptr;  // [tokens, row_stride]; a row is kv_heads heads of head_dim elements each,
                        // and then anything
  int64_t tokens = 0;
  int64_t row_stride = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;  // at most 256
  CacheCode code = CacheCode::kSixteenBits;
  CacheType type = CacheType::kHalf;  // of T = float; Half and Bfloat16 are their own
  const float* scale = nullptr;       // [kv_heads, head_dim], positive: of kInt8 and kFloat8
  const float* zero = nullptr;        // [kv_heads, head_dim]: of kInt8
  CodeCount* counts = nullptr;        // [kv_heads], added to; or null, as always but of int8

  int64_t columns() const { return kv_heads * head_dim; }

  void check() const {
    require(tokens >= 0 && kv_heads > 0, "quantize_dequantize: tokens >= 0 and kv_heads > 0");
    require(head_dim > 0 && head_dim <= 256, "quantize_dequantize: head_dim is at most 256");
    require(row_stride >= columns(), "quantize_dequantize: row_stride covers the heads");
    require(values != nullptr || tokens == 0, "quantize_dequantize: values are given");
    require((scale != nullptr) == (code == CacheCode::kInt8 || code == CacheCode::kFloat8),
            "quantize_dequantize: scale is given for kInt8 and kFloat8");
    require((zero != nullptr) == (code == CacheCode::kInt8),
            "quantize_dequantize: zero is given for kInt8");
    require(counts == nullptr || code == CacheCode::kInt8 || code == CacheCode::kInt8OfToken,
            "quantize_dequantize: counts are of kInt8 and kInt8OfToken");
  }
};

// T: Half, Bfloat16.  Pointers are device memory.  Throws std::invalid_argument for inconsistent
// arguments, CudaError for a launch that failed.
template <typename T>
void quantize_dequantize(const QuantizeDequantizeArguments<T>& arguments, Stream stream);

namespace cpu {

// The same, to the bit, for tokens [first_token, last_token), and for float; pointers are host
// memory.  The counts are added to without locks: each thread needs its own.
template <typename T>
void quantize_dequantize(const QuantizeDequantizeArguments<T>& arguments, int64_t first_token,
                         int64_t last_token);

}  // namespace cpu
}  // namespace kvcalib::kernels
