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

// Where statistics of a model could come from.
inline Provenance provenance_of(const ModelConfig& model) {
  Provenance provenance;
  provenance.program_version = "0.1.0";
  provenance.weights_fingerprint = std::string(64, 'f');
  provenance.model = model;
  provenance.runtime = "v0.3.0";
  provenance.compute_dtype = "float32";
  provenance.samples = 8;
  provenance.length = 512;
  return provenance;
}

}  // namespace kvcalib
