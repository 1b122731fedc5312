// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "calibrate/statistics/statistics_file.h"

namespace kvcalib {

// Keeps what is written.
class StringSink final : public ByteSink {
 public:
  using ByteSink::append;
  void append(std::span<const std::byte> bytes) override {
    text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  std::string text;
};

// The bytes of a statistics file.
inline std::string to_safetensors(const KvStatistics& statistics, const Provenance& provenance) {
  StringSink sink;
  StatisticsFile{statistics, provenance}.write(sink);
  return sink.text;
}

}  // namespace kvcalib
