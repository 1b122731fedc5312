// SPDX-License-Identifier: Apache-2.0
#pragma once

// Part of every instruction_set_*.cpp, each compiled for other processors; in an unnamed namespace,
// so that the linker cannot take one processor's copy for another's.
#include <algorithm>
#include <cstdint>
#include <cstring>

namespace kvcalib::kernels::cpu {
namespace {

// Whatever the width of vectors: that fixes the order of a sum.
constexpr int64_t kFloatLanes = 16;

template <int kVector>
struct VectorsOf;

template <>
struct VectorsOf<4> {
  typedef float Floats __attribute__((vector_size(16)));
};

template <>
struct VectorsOf<8> {
  typedef float Floats __attribute__((vector_size(32)));
};

template <>
struct VectorsOf<16> {
  typedef float Floats __attribute__((vector_size(64)));
};

// kFloatLanes floats in vectors of kVector.
template <int kVector>
struct FloatLanes {
  using Floats = typename VectorsOf<kVector>::Floats;
  static constexpr int kVectors = kFloatLanes / kVector;

  Floats vectors[kVectors];

  [[gnu::always_inline]] static inline FloatLanes load(const float* source) {
    FloatLanes lanes;
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i)
      std::memcpy(&lanes.vectors[i], source + i * kVector, sizeof(Floats));
    return lanes;
  }

  // The first `count` elements, and zeros where there are none.
  [[gnu::always_inline]] static inline FloatLanes load_some(const float* source, int64_t count) {
    if (count >= kFloatLanes) return load(source);
    float filled[kFloatLanes];
    std::fill(filled, filled + kFloatLanes, 0.0f);
    std::copy_n(source, count, filled);
    return load(filled);
  }

  [[gnu::always_inline]] inline void store(float* target) const {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i)
      std::memcpy(target + i * kVector, &vectors[i], sizeof(Floats));
  }

  [[gnu::always_inline]] inline void add_product(const FloatLanes& left, const FloatLanes& right) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) vectors[i] += left.vectors[i] * right.vectors[i];
  }

  [[gnu::always_inline]] inline void add_product(float left, const FloatLanes& right) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) vectors[i] += left * right.vectors[i];
  }

  [[gnu::always_inline]] inline void add(const FloatLanes& other) {
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) vectors[i] += other.vectors[i];
  }

  [[gnu::always_inline]] inline float sum() const {
    using Four = VectorsOf<4>::Floats;
    Four quarters[4];
    store(reinterpret_cast<float*>(quarters));
    const Four four = (quarters[0] + quarters[2]) + (quarters[1] + quarters[3]);
    return (four[0] + four[2]) + (four[1] + four[3]);
  }
};

}  // namespace
}  // namespace kvcalib::kernels::cpu
