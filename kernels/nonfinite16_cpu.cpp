// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/float_rows.h"
#include "kernels/instruction_set.h"
#include "kernels/nonfinite16.h"

namespace kvcalib::kernels::cpu {

void nonfinite16(const Nonfinite16Arguments& arguments, int64_t first_element,
                 int64_t last_element) {
  // Without their signs, floats are ordered as their bits are; those from the exponent mask on are
  // not finite.
  constexpr int64_t kBlock = 1 << 16;
  arguments.check();
  const RowLoops& rows = *fastest_instruction_set().rows;
  for (int64_t start = first_element; start < last_element; start += kBlock) {
    const int64_t count = std::min(kBlock, last_element - start);
    if (rows.largest_magnitude(arguments.bits + start, count) >= arguments.exponent_mask) {
      raise(arguments.found, 1);
      return;
    }
  }
}

}  // namespace kvcalib::kernels::cpu
