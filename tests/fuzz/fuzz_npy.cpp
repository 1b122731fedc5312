// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "calibrate/data/npy_file.h"
#include "tests/fuzz/memory_file.h"

namespace kvcalib {

// A NumPy file of token ids.
void fuzz(std::string_view bytes) {
  static const MemoryFile kFile;
  const NpyReader reader(kFile.hold(bytes));
  require(reader.dimensions() == 1 || reader.dimensions() == 2);
  const int64_t count = reader.rows() * reader.columns();
  require(count >= 0 && static_cast<uint64_t>(count) <= bytes.size());
  require(static_cast<int64_t>(reader.read(0, count).size()) == count);
  if (count > 0) require(!reader.position(count - 1).empty());
}

}  // namespace kvcalib
