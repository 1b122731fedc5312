// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/require.h"

namespace kvcalib::kernels {

inline constexpr uint16_t kHalfExponent = 0x7c00;
inline constexpr uint16_t kBfloat16Exponent = 0x7f80;

// The arguments of a search for NaN and infinity in 16-bit floats.
struct Nonfinite16Arguments {
  const uint16_t* bits = nullptr;
  int64_t count = 0;
  uint16_t exponent_mask = 0;  // kHalfExponent or kBfloat16Exponent
  int* found = nullptr;        // set to 1 when an element is not finite, else left alone

  void check() const {
    require(exponent_mask == kHalfExponent || exponent_mask == kBfloat16Exponent,
            "nonfinite16: exponent_mask is that of half or of bfloat16");
    require(count >= 0, "nonfinite16: count >= 0");
    require((count == 0 || bits != nullptr) && found != nullptr,
            "nonfinite16: bits and found are given");
  }
};

namespace cpu {

// Searches elements [first_element, last_element) in host memory, where weights are looked at while
// they are in cache. Throws std::invalid_argument for inconsistent arguments.
void nonfinite16(const Nonfinite16Arguments& arguments, int64_t first_element,
                 int64_t last_element);

}  // namespace cpu
}  // namespace kvcalib::kernels
