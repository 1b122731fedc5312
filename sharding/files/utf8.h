// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string_view>

namespace kvcalib {

// Where the first byte stands that is not part of well-formed UTF-8 (Unicode 15, table 3-7: no
// overlong forms, no surrogates, nothing above U+10FFFF); bytes.size() when there is none.
size_t first_invalid_utf8(std::string_view bytes);

}  // namespace kvcalib
