// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cache_codes.h"
#include "kernels/require.h"
#include "kernels/stream.h"

namespace kvcalib::kernels {

// Bits of RotaryObserveArguments::nonfinite.
inline constexpr int kNonfiniteKey = 1;
inline constexpr int kNonfiniteValue = 2;

// The running range of the channels of K or of V, [kv_heads, head_dim] each, free of NaN.
struct ChannelRange {
  float* minimum = nullptr;
  float* maximum = nullptr;
};

// The arguments of what lies between the QKV product and attention, per token:
//   q, k, v  get their bias in fp32 and are rounded to T
//   q, k     are rotated by their position in fp32, in pairs of neighbours (x0' = c x0 - s x1,
//            x1' = c x1 + s x0), and rounded to T
//   q        is multiplied by its position's query_scale in fp32 and rounded to T
//   k, v     as now held in T raise their bit of nonfinite for a NaN or an infinity, and widen the
//            running range of their kv head and channel where there is one; then they become what
//            quantize_dequantize makes of them, where they have codes
// A NaN leaves the ranges alone and an infinity widens them.  Either zero counts as +0 in the
// ranges, so that they do not depend on the order of tokens.
template <typename T>
struct RotaryObserveArguments {
  // [tokens, row_stride] in place; a row is heads q heads, kv_heads k heads, kv_heads v heads of
  // head_dim elements each, and then anything.
  T* qkv = nullptr;
  const T* bias = nullptr;             // null, or in the order of a row's columns
  const int32_t* positions = nullptr;  // [tokens], each below length
  const float* cosine = nullptr;       // [length, head_dim / 2]
  const float* sine = nullptr;         // [length, head_dim / 2]
  const float* query_scale = nullptr;  // [length] (logn attention) or null
  int64_t tokens = 0;
  int64_t length = 0;
  int64_t row_stride = 0;
  int64_t heads = 0;  // 0: the rows hold only k and v
  int64_t kv_heads = 0;
  int64_t head_dim = 0;                 // even, at most 256
  ChannelRange keys, values;            // or nulls: no ranges are wanted
  Int8Channels key_codes, value_codes;  // or nulls: no codes; not on the CPU, nor with ranges
  int* nonfinite = nullptr;             // |= kNonfiniteKey, kNonfiniteValue

  bool observes() const { return keys.minimum != nullptr; }
  bool codes() const { return key_codes.scale != nullptr; }
  int64_t columns() const { return (heads + 2 * kv_heads) * head_dim; }

  void check() const {
    require(tokens >= 0 && length > 0, "rotary_observe: tokens >= 0 and length > 0");
    require(heads >= 0 && kv_heads > 0, "rotary_observe: heads >= 0 and kv_heads > 0");
    require(head_dim > 0 && head_dim <= 256 && head_dim % 2 == 0,
            "rotary_observe: head_dim is even and at most 256");
    require(row_stride >= columns(), "rotary_observe: row_stride covers q, k and v");
    require(qkv != nullptr && positions != nullptr && cosine != nullptr && sine != nullptr,
            "rotary_observe: qkv, positions, cosine and sine are given");
    require((keys.maximum != nullptr) == observes() && (values.minimum != nullptr) == observes() &&
                (values.maximum != nullptr) == observes(),
            "rotary_observe: all four ranges are given, or none");
    require(nonfinite != nullptr, "rotary_observe: nonfinite is given");
    for (const Int8Channels& own : {key_codes, value_codes})
      require((own.scale != nullptr) == codes() && (own.zero != nullptr) == codes() &&
                  (own.counts != nullptr) == codes(),
              "rotary_observe: codes of k and v have scale, zero and counts, or none has");
  }
};

// Whether rotary_observe can make codes, of 16-bit elements: a head is cut into a power of two of
// chunks.
inline bool rotary_makes_codes(int64_t head_dim) {
  return head_dim == 16 || head_dim == 32 || head_dim == 64 || head_dim == 128 || head_dim == 256;
}

// T: Half, Bfloat16.  Pointers are device memory.  Throws std::invalid_argument for inconsistent
// arguments, for codes of a head_dim for which there are none or of rows that are not aligned to 16
// bytes, CudaError for a launch that failed.
template <typename T>
void rotary_observe(const RotaryObserveArguments<T>& arguments, Stream stream);

namespace cpu {

// The same, to the bit, for tokens [first_token, last_token), and for float; pointers are host
// memory.  The ranges are widened without locks: each thread needs its own.  Throws
// std::invalid_argument for a position beyond the tables as well.
template <typename T>
void rotary_observe(const RotaryObserveArguments<T>& arguments, int64_t first_token,
                    int64_t last_token);

}  // namespace cpu
}  // namespace kvcalib::kernels
