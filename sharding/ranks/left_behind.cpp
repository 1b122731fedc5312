// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/left_behind.h"

#include <cstdio>
#include <cstdlib>
#include <mutex>

namespace kvcalib {

// Of exit's actions the last one runs first, before the destructors of statics made until now.
void end_without_destruction() {
  static std::once_flag once;
  std::call_once(once, [] {
    on_exit(
        [](int exit_code, void* /*nothing*/) {
          std::fflush(nullptr);
          std::_Exit(exit_code);
        },
        nullptr);
  });
}

}  // namespace kvcalib
