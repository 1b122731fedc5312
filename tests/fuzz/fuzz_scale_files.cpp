// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/scale_files.h"
#include "tests/fuzz/fuzz_target.h"

namespace kvcalib {

// A scale file: its name, a line feed, its bytes.
void fuzz(std::string_view bytes) {
  const size_t end = std::min(bytes.find('\n'), bytes.size());
  const std::string_view name = bytes.substr(0, end);
  if (const auto id = parse_scale_file_name(name)) {
    require(id->layer >= 0 && id->rank >= 0);
    require(scale_file_name(id->layer, id->rank) == name && is_scale_file_name(name));
  }
  bytes.remove_prefix(std::min(end + 1, bytes.size()));
  require(parse_scale_file(bytes).has_value() == (bytes.size() == 8 || bytes.size() == 16));
}

}  // namespace kvcalib
