// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/float_rows.h"
#include "kernels/nonfinite16.h"
#include "kernels/vectorised.h"

namespace kvcalib::kernels::cpu {
namespace {

KVCALIB_VECTORISED
bool has_nonfinite(const uint16_t* bits, int64_t count, uint16_t mask) {
  uint16_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    found = static_cast<uint16_t>(found | ((bits[i] & mask) == mask ? 1 : 0));
  }
  return found != 0;
}

}  // namespace

void nonfinite16(const Nonfinite16Arguments& arguments, int64_t first_element,
                 int64_t last_element) {
  constexpr int64_t kBlock = 1 << 16;
  arguments.check();
  for (int64_t start = first_element; start < last_element; start += kBlock) {
    const int64_t count = std::min(kBlock, last_element - start);
    if (has_nonfinite(arguments.bits + start, count, arguments.exponent_mask)) {
      raise(arguments.found, 1);
      return;
    }
  }
}

}  // namespace kvcalib::kernels::cpu
