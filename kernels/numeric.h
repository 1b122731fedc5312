// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

#include "kernels/element_types.h"

namespace kvcalib::kernels {

// The element types on the host; cuda_numeric.h has the same for the device.  from_float rounds to
// nearest even and overflows to infinity; only the payload of a NaN may differ.

inline float to_float(float value) { return value; }

inline float to_float(Half value) {
  const uint32_t sign = (value.bits & 0x8000u) << 16;
  const uint32_t magnitude = (value.bits & 0x7fffu) << 13;
  if (magnitude >= 0x7c00u << 13) return std::bit_cast<float>(sign | 0x7f800000u | magnitude);
  // As a float its exponent is 112 too small.
  return std::bit_cast<float>(sign |
                              std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f));
}

inline float to_float(Bfloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.bits) << 16);
}

// The upper `32 - shift` bits of a float's, rounded.
inline uint32_t rounded_bits(uint32_t bits, int shift) {
  const uint32_t below_half = (1u << (shift - 1)) - 1;
  return (bits + below_half + ((bits >> shift) & 1u)) >> shift;
}

inline uint16_t half_bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  constexpr uint32_t kInfinity = 0x7c00u, kNan = 0x7fffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | kNan);
  uint32_t result = 0;
  if (magnitude < 0x38800000u)  // subnormal: beside 0.5 a float has a half's smallest steps
    result = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  else
    result = std::min(rounded_bits(magnitude - 0x38000000u, 13), kInfinity);
  return static_cast<uint16_t>(sign | result);
}

inline uint16_t bfloat16_bits(float value) {
  if (value != value) return 0x7fff;
  return static_cast<uint16_t>(rounded_bits(std::bit_cast<uint32_t>(value), 16));
}

template <typename T>
T from_float(float value) {
  if constexpr (std::is_same_v<T, Half>) {
    return {half_bits(value)};
  } else if constexpr (std::is_same_v<T, Bfloat16>) {
    return {bfloat16_bits(value)};
  } else {
    static_assert(std::is_same_v<T, float>);
    return value;
  }
}

// The value as T would hold it.
template <typename T>
float rounded(float value) {
  return to_float(from_float<T>(value));
}

}  // namespace kvcalib::kernels
