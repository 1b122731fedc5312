// SPDX-License-Identifier: Apache-2.0
#pragma once

// Part of every instruction_set_*.cpp, each compiled for other processors; in an unnamed namespace,
// so that the linker cannot take one processor's copy for another's.
#ifdef __AVX2__
#include <immintrin.h>
#endif

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
  typedef int32_t Integers __attribute__((vector_size(16)));
  typedef uint16_t Words __attribute__((vector_size(8)));
  typedef uint8_t Bytes __attribute__((vector_size(4)));
};

template <>
struct VectorsOf<8> {
  typedef float Floats __attribute__((vector_size(32)));
  typedef int32_t Integers __attribute__((vector_size(32)));
  typedef uint16_t Words __attribute__((vector_size(16)));
  typedef uint8_t Bytes __attribute__((vector_size(8)));
};

template <>
struct VectorsOf<16> {
  typedef float Floats __attribute__((vector_size(64)));
  typedef int32_t Integers __attribute__((vector_size(64)));
  typedef uint16_t Words __attribute__((vector_size(32)));
  typedef uint8_t Bytes __attribute__((vector_size(16)));
};

// kFloatLanes floats in vectors of kVector.
template <int kVector>
struct FloatLanes {
  using Floats = typename VectorsOf<kVector>::Floats;
  using Integers = typename VectorsOf<kVector>::Integers;
  using Words = typename VectorsOf<kVector>::Words;
  using Bytes = typename VectorsOf<kVector>::Bytes;
  static constexpr int kVectors = kFloatLanes / kVector;

  Floats vectors[kVectors];

  [[gnu::always_inline]] static inline FloatLanes load(const float* source) {
    FloatLanes lanes;
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i)
      std::memcpy(&lanes.vectors[i], source + i * kVector, sizeof(Floats));
    return lanes;
  }

  // Codes are q of q + 128.
  [[gnu::always_inline]] static inline FloatLanes load(const uint8_t* source) {
    FloatLanes lanes;
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i)
      lanes.vectors[i] = __builtin_convertvector(widened(source + i * kVector) - 128, Floats);
    return lanes;
  }

  // The first `count` elements, and zeros where there are none.
  template <typename Element>
  [[gnu::always_inline]] static inline FloatLanes load_some(const Element* source, int64_t count) {
    if (count >= kFloatLanes) return load(source);
    Element filled[kFloatLanes];
    std::fill(filled, filled + kFloatLanes, static_cast<Element>(sizeof(Element) == 1 ? 128 : 0));
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

 private:
  // One instruction, of which the compiler does not know where a vector grows fourfold.
  [[gnu::always_inline]] static inline Integers widened(const uint8_t* source) {
#ifdef __AVX512F__
    if constexpr (kVector == 16)
      return reinterpret_cast<Integers>(_mm512_maskz_cvtepu8_epi32(  // g++ 12 warns of one without
          0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(source))));
#endif
#ifdef __AVX2__
    if constexpr (kVector == 8)
      return reinterpret_cast<Integers>(
          _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(source))));
#endif
    Bytes bytes;
    std::memcpy(&bytes, source, sizeof(Bytes));
    return __builtin_convertvector(__builtin_convertvector(bytes, Words), Integers);
  }
};

}  // namespace
}  // namespace kvcalib::kernels::cpu
