// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace kvcalib {

// What a target does with an input: reads it as its file.  An Error is an answer; anything else
// that is thrown, a sanitizer's finding and a requirement that does not hold end the process.
void fuzz(std::string_view bytes);

// Ends the process where `holds` is false.
inline void require(bool holds) {
  if (!holds) __builtin_trap();
}

}  // namespace kvcalib
