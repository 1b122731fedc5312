// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "calibrate/statistics/statistics_file.h"
#include "tests/safetensors_bytes.h"

namespace kvcalib {

// The bytes of a statistics file.
inline std::string to_safetensors(const KvStatistics& statistics, const Provenance& provenance) {
  TextSink sink;
  StatisticsFile{statistics, provenance}.write(sink);
  return sink.text;
}

}  // namespace kvcalib
