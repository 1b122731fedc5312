// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/measured.h"

#include <cmath>

namespace kvcalib {

bool cannot_copy(const CopyDistance& copy, int64_t vocab) {
  if (copy.measures.streams.empty()) return false;
  return copy.measures.streams.front().surprise.value >= std::log(static_cast<double>(vocab));
}

}  // namespace kvcalib
