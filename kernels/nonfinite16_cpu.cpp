// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/float_rows.h"
#include "kernels/nonfinite16.h"
#include "kernels/vectorised.h"

namespace kvcalib::kernels::cpu {
namespace {

// Without their signs, floats are ordered as their bits are; those from the exponent mask on are
// not finite.
KVCALIB_VECTORISED
uint16_t largest_magnitude(const uint16_t* bits, int64_t count) {
  constexpr uint16_t kSignless = 0x7fff;
  uint16_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, static_cast<uint16_t>(bits[i] & kSignless));
  }
  return largest;
}

}  // namespace

void nonfinite16(const Nonfinite16Arguments& arguments, int64_t first_element,
                 int64_t last_element) {
  constexpr int64_t kBlock = 1 << 16;
  arguments.check();
  for (int64_t start = first_element; start < last_element; start += kBlock) {
    const int64_t count = std::min(kBlock, last_element - start);
    if (largest_magnitude(arguments.bits + start, count) >= arguments.exponent_mask) {
      raise(arguments.found, 1);
      return;
    }
  }
}

}  // namespace kvcalib::kernels::cpu
