// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace kvcalib {

// How one stream continued a prompt.
struct Continuation {
  std::vector<int32_t> ids;  // without the token that ends a text
  bool ended = false;        // by that token
  bool settled = false;      // more would not have changed anything; else its most tokens were made

  bool operator==(const Continuation&) const = default;
};

}  // namespace kvcalib
