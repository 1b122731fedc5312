// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "sharding/formats/model_config.h"

namespace kvcalib {

// The range that every channel of K or of V took: each vector is [layers, kv_heads, head_dim]
// row-major, channels in the order of the weights directory.
struct TensorStatistics {
  std::vector<float> minimum, maximum;

  // Widens these ranges by `other`'s, which has the same shape.
  void merge(const TensorStatistics& other);

  bool operator==(const TensorStatistics&) const = default;
};

// The ranges of K and V over all tokens of all windows: what any scale can be made from.
struct KvStatistics {
  KvStatistics() = default;
  // Empty ranges: minimum +inf, maximum -inf.
  KvStatistics(int64_t layers, int64_t kv_heads, int64_t head_dim);

  int64_t layers = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  TensorStatistics keys, values;

  // Widens these ranges by `other`'s.  Throws Error when the shapes differ.
  void merge(const KvStatistics& other);

  // The ranges as the 16-bit cache would hold them.  Rounding is monotonic, so rounding the
  // extremes equals rounding every value first.  Throws Error naming layer and tensor for a range
  // that is empty or not finite (before or after rounding).
  KvStatistics rounded(WeightType type) const;
};

}  // namespace kvcalib
