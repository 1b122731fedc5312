// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace kvcalib {

// To be called first: a descriptor 0, 1 or 2 that is closed would be the next file that is opened,
// and get what is printed.  Throws Error when stdout is closed: results could not be told.
void check_standard_streams();

// Prints results, all of them.  Throws Error with the system's reason when that is not possible.
void print(std::string_view text);

}  // namespace kvcalib
