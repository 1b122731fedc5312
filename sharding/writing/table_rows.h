// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "sharding/files/ranged_file.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// A table of weights read by rows, as a release stores it: in 16 bits, normalised where it says so.
class TableRows {
 public:
  // Throws Error when the file cannot be opened.
  TableRows(const EmbeddingTable& table, int64_t hidden, WeightType type);

  // Rows [first, first + count) into `target` [count, hidden]; by several threads at once.  Throws
  // Error when the file cannot be read or holds NaN or Inf.
  void read(int64_t first, int64_t count, uint16_t* target) const;

 private:
  const EmbeddingTable table_;
  const int64_t hidden_;
  const WeightType type_;
  const RangedFile file_;
};

// How many rows of the embedding are the model's: without those beyond its vocabulary, where they
// are the zeros that cutting for several ranks has put there.
int64_t rows_without_padding(const WeightDirectory& source);

}  // namespace kvcalib
