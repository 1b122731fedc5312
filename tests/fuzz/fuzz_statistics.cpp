// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/error.h"
#include "tests/fuzz/sane_model.h"
#include "tests/statistics/statistics_bytes.h"

namespace kvcalib {

// kv_stats.safetensors.
void fuzz(std::string_view bytes) {
  const StatisticsFile file = parse_statistics(bytes, "file");
  require_sane(file.provenance.model);
  try {
    const std::string written = to_safetensors(file.statistics, file.provenance);
    const StatisticsFile again = parse_statistics(written, "again");
    require(to_safetensors(again.statistics, again.provenance) == written);
  } catch (const Error&) {
    require(false);  // what was read can be written, and read again
  }
}

}  // namespace kvcalib
