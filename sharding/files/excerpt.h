// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace kvcalib {

// As messages show what a file says: its beginning, in one line of at most some 80 bytes, without
// what a terminal would obey.
std::string excerpt(std::string_view text);

}  // namespace kvcalib
