// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/json_reader.h"
#include "tests/fuzz/fuzz_target.h"

namespace kvcalib {

// Any JSON, as every reader of it gets it.
void fuzz(std::string_view bytes) {
  const nlohmann::json value = parse_json(bytes, "file");
  require(parse_json(value.dump(), "again") == value);
  require(nlohmann::json::parse(bytes) == value);
  require(json_excerpt(value).size() < 100);
}

}  // namespace kvcalib
