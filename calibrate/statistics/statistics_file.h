// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/statistics/kv_statistics.h"
#include "sharding/files/byte_sink.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

inline constexpr const char* kStatisticsFileName = "kv_stats.safetensors";

// A file that calibration read.
struct DataFile {
  std::string path;
  std::string sha256;  // of its bytes, hexadecimal

  bool operator==(const DataFile&) const = default;
};

// How weights were equalised of which the ranges were derived, not taken.
struct EqualisedFrom {
  std::string weights_fingerprint;  // of the weights before
  bool exact = false;               // by powers of two

  bool operator==(const EqualisedFrom&) const = default;
};

// Where statistics come from: everything that decides their values.  No times and no host, so that
// equal runs give equal bytes.
struct Provenance {
  std::string program_version;
  std::string weights_fingerprint;
  ModelConfig model;
  std::string runtime;        // "v0.3.0": the release whose rotation K had
  std::string compute_dtype;  // "float32", "float16" or "bfloat16"
  std::vector<DataFile> data;
  std::string tokenizer_sha256;  // empty: the data were token ids
  uint64_t seed = 0;
  int64_t samples = 0;
  int64_t length = 0;  // tokens of a sample
  bool packed = false;
  // "interleaved": channels 2j and 2j + 1 of K are a rotary pair, as in the weights directory.
  std::string channel_order = "interleaved";
  std::optional<EqualisedFrom> equalised;  // the rest is of the calibration before
};

// Statistics with where they come from: kv_stats.safetensors.
struct StatisticsFile {
  KvStatistics statistics;
  Provenance provenance;

  // The file's bytes: F32 tensors key.minimum, key.maximum, value.minimum and value.maximum
  // [layers, kv_heads, head_dim], where it is known key.reach [layers, kv_heads, head_dim / 2, 32],
  // where they were gathered key.counts, key.importance [layers, kv_heads, 1024], key.extremes
  // [layers, kv_heads, 9, 2] (see TensorHistograms: 8.2 KB a kv head, 108 MB for K and V of 82
  // layers of 80) and the same of value, and the metadata format = "kvcalib-kv-statistics", version
  // = "2", provenance = a JSON object. Equal content gives equal bytes.
  void write(ByteSink& sink) const;
};

// Read version 1, too, which had the four ranges alone.  Throw Error naming the file for another
// format or version, a provenance that lacks something or
// states what no calibration writes, tensors of other shapes than its model, and naming tensor,
// layer, head and channel for a range that is not finite or has its minimum above its maximum, a
// reach that is not finite, or histograms that count less than nothing.
StatisticsFile parse_statistics(std::string_view bytes, const std::string& origin);
StatisticsFile read_statistics(const std::filesystem::path& path);

}  // namespace kvcalib
