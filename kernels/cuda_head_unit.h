// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cuda_cache_codes.h"
#include "kernels/cuda_chunk.h"

namespace kvcalib::kernels {

// The columns of one head that one thread owns for all its tokens: a chunk in each half of the
// head.  Of heads that cannot be cut into chunks it owns one pair.
template <typename T, int N>
struct Unit {
  int64_t head;
  int low, high;  // first column of either chunk, within the head

  __device__ Unit(int64_t head_dim, int64_t index) {
    const int half = static_cast<int>(head_dim) / 2;
    const int units_per_head = half / N;
    head = index / units_per_head;
    const int within = static_cast<int>(index % units_per_head);
    low = N == 1 ? 2 * within : within * N;
    high = N == 1 ? low + 1 : low + half;
  }
};

struct NoCodes {
  template <typename... Any>
  __device__ explicit NoCodes(const Any&... /*any*/) {}
};

// The codes of a unit's channels.
template <typename T, int N>
class UnitCodes {
 public:
  // kv_head: of K or of V; one that there is not has no codes.
  __device__ UnitCodes(const Int8Channels& channels, int64_t kv_head, int64_t kv_heads,
                       int64_t head_dim, const Unit<T, N>& unit)
      : lanes_(static_cast<int>(head_dim) / 2 / N) {
    if (kv_head < 0 || kv_head >= kv_heads) return;
    counts_ = channels.counts + kv_head;
#pragma unroll
    for (int n = 0; n < 2 * N; ++n) {
      const int64_t column = kv_head * head_dim + (n < N ? unit.low + n : unit.high + n - N);
      codes_.set_scale(n, __ldg(channels.scale + column));
      codes_.set_zero(n, __ldg(channels.zero + column));
    }
  }

  __device__ void convert(Chunk<T, N>& low, Chunk<T, N>& high) {
    float values[2 * N];
#pragma unroll
    for (int n = 0; n < N; ++n) {
      values[n] = to_float(low.values[n]);
      values[N + n] = to_float(high.values[n]);
    }
    codes_.convert(values, lanes_);
#pragma unroll
    for (int n = 0; n < N; ++n) {
      low.values[n] = from_float<T>(values[n]);
      high.values[n] = from_float<T>(values[N + n]);
    }
  }

  // By all threads of a warp.  `values`: of the head, that no other block adds.
  __device__ void add_counts(int64_t values) {
    codes_.reduce_counts(lanes_);
    if (counts_ != nullptr && threadIdx.x % lanes_ == 0) codes_.add_counts(*counts_, values);
  }

 private:
  CacheCodes<CacheCode::kInt8, 2 * N, true> codes_;
  const int lanes_;  // threads that have a head: neighbours
  CodeCount* counts_ = nullptr;
};

}  // namespace kvcalib::kernels
