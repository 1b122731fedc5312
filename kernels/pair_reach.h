// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/require.h"
#include "kernels/stream.h"

namespace kvcalib::kernels {

inline constexpr int kReachDirections = 32;

// cos(i pi / 16) for i = 0 .. 8: those of all directions, by symmetry.
inline constexpr float kReachCosines[kReachDirections / 4 + 1] = {
    1.0f,         0.980785280f, 0.923879533f, 0.831469612f, 0.707106781f,
    0.555570233f, 0.382683432f, 0.195090322f, 0.0f};

// The arguments of how far the rotary pairs of K reach before they are rotated, of rows that are
// rotated already.  Per token, kv head and pair k, in fp32, each operation rounded:
//   k'        = k turned back by its position (c k0 + s k1, c k1 - s k0)
//   reach[i]  = max(reach[i], k'0 cos(i pi / 16) + k'1 sin(i pi / 16)) for i = 0 .. 31
// A NaN leaves the reach alone and an infinity widens it.  Either zero counts as +0.
template <typename T>
struct PairReachArguments {
  // [tokens, row_stride]; a row is heads q heads and kv_heads k heads of head_dim elements each,
  // and then anything.
  const T* qkv = nullptr;
  const int32_t* positions = nullptr;  // [tokens], each below length
  const float* cosine = nullptr;       // [length, head_dim / 2]
  const float* sine = nullptr;         // [length, head_dim / 2]
  int64_t tokens = 0;
  int64_t length = 0;
  int64_t row_stride = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;    // even, at most 256
  float* reach = nullptr;  // [kReachDirections, kv_heads, head_dim / 2], free of NaN

  int64_t pairs() const { return kv_heads * head_dim / 2; }

  void check() const {
    require(tokens >= 0 && length > 0, "pair_reach: tokens >= 0 and length > 0");
    require(heads >= 0 && kv_heads > 0, "pair_reach: heads >= 0 and kv_heads > 0");
    require(head_dim > 0 && head_dim <= 256 && head_dim % 2 == 0,
            "pair_reach: head_dim is even and at most 256");
    require(row_stride >= (heads + kv_heads) * head_dim, "pair_reach: row_stride covers q and k");
    require(qkv != nullptr && positions != nullptr && cosine != nullptr && sine != nullptr &&
                reach != nullptr,
            "pair_reach: qkv, positions, cosine, sine and reach are given");
  }
};

// T: Half, Bfloat16.  Pointers are device memory.  Throws std::invalid_argument for inconsistent
// arguments, CudaError for a launch that failed.
template <typename T>
void pair_reach(const PairReachArguments<T>& arguments, Stream stream);

namespace cpu {

// The same, to the bit, for tokens [first_token, last_token), and for float; pointers are host
// memory.  The reach is widened without locks: each thread needs its own.  Throws
// std::invalid_argument for a position beyond the tables as well.
template <typename T>
void pair_reach(const PairReachArguments<T>& arguments, int64_t first_token, int64_t last_token);

}  // namespace cpu
}  // namespace kvcalib::kernels
