// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/json_text.h"
#include "sharding/files/utf8.h"
#include "tests/fuzz/fuzz_target.h"

namespace kvcalib {

// A line of a data file.
void fuzz(std::string_view bytes) {
  const std::string text = text_of_json_line(bytes, "line");
  require(first_invalid_utf8(text) == text.size());
}

}  // namespace kvcalib
