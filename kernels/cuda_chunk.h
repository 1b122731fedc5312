// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/cuda_numeric.h"

namespace kvcalib::kernels {

inline constexpr int kChunkBytes = 16;  // the widest access of one thread

template <typename T>
inline constexpr int kChunkElements = kChunkBytes / static_cast<int>(sizeof(T));

// N neighbouring elements of T that one thread holds in registers and moves in one access.
template <typename T, int N>
struct Chunk {
  T values[N];
};

template <typename T, int N>
__device__ inline Chunk<T, N> load_chunk(const T* source) {
  Chunk<T, N> chunk;
  if constexpr (N == 1) {
    chunk.values[0] = *source;
  } else {
    static_assert(N == kChunkElements<T>);
    const uint4 raw = *reinterpret_cast<const uint4*>(source);
    memcpy(&chunk, &raw, kChunkBytes);
  }
  return chunk;
}

// The same from memory that nothing writes while the kernel runs.
template <typename T, int N>
__device__ inline Chunk<T, N> load_constant_chunk(const T* source) {
  if constexpr (N == 1) {
    return load_chunk<T, N>(source);
  } else {
    Chunk<T, N> chunk;
    const uint4 raw = __ldg(reinterpret_cast<const uint4*>(source));
    memcpy(&chunk, &raw, kChunkBytes);
    return chunk;
  }
}

template <typename T, int N>
__device__ inline void store_chunk(T* target, const Chunk<T, N>& chunk) {
  if constexpr (N == 1) {
    *target = chunk.values[0];
  } else {
    static_assert(N == kChunkElements<T>);
    uint4 raw;
    memcpy(&raw, &chunk, kChunkBytes);
    *reinterpret_cast<uint4*>(target) = raw;
  }
}

// Whether chunk accesses may start at the pointer; a null pointer is never accessed.
inline bool chunk_aligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % kChunkBytes == 0;
}

}  // namespace kvcalib::kernels
