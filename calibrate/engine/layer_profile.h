// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace kvcalib {

// How much of a format's codes K or V of one layer and kv head used, over all tokens.
struct CodeUse {
  uint64_t values = 0;   // seen
  uint64_t clipped = 0;  // that lay more than a step beyond the first or last code
  int32_t lowest = std::numeric_limits<int32_t>::max();  // codes that were used, -128 .. 127
  int32_t highest = std::numeric_limits<int32_t>::min();

  bool operator==(const CodeUse&) const = default;
};

// A squared error beside the square of what it is an error of, both summed over tokens.
struct SquaredError {
  double error = 0, size = 0;

  bool operator==(const SquaredError&) const = default;
};

// What a format did to one layer.
struct LayerProfile {
  // By kv head; of int8 formats.
  std::vector<CodeUse> key_codes, value_codes;
  // By kv head, of the attention output of the query heads that read it, in the first stream: when
  // only this layer's K, only its V, or both go through the format.  Over a sample of the texts.
  std::vector<SquaredError> key_error, value_error, both_error;
  // Of the layer's output in this stream, against the first stream's.  Over the same sample.
  SquaredError hidden_error;

  bool operator==(const LayerProfile&) const = default;
};

// One stream's layers.
using StreamProfile = std::vector<LayerProfile>;

}  // namespace kvcalib
