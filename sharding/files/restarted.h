// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>

namespace kvcalib {

// What a system call returns that is made again as often as a signal interrupts it.
template <typename Call>
auto restarted(Call call) {
  while (true) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return result;
  }
}

}  // namespace kvcalib
