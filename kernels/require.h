// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>

namespace kvcalib::kernels {

// Throws std::invalid_argument: a caller broke an operation's stated precondition.
inline void require(bool holds, const char* precondition) {
  if (!holds) throw std::invalid_argument(precondition);
}

}  // namespace kvcalib::kernels
