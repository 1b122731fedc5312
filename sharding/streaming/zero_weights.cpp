// SPDX-License-Identifier: Apache-2.0
#include "sharding/streaming/zero_weights.h"

#include <algorithm>
#include <vector>

#include "sharding/files/error.h"
#include "sharding/files/ranged_file.h"

namespace kvcalib {
namespace {

constexpr uint64_t kBlock = uint64_t{64} << 10;

// How many of the last bytes are zeros.
uint64_t trailing_zeros(const FileRange& tensor) {
  const RangedFile file(tensor.file);
  std::vector<std::byte> block(std::min(kBlock, tensor.bytes));
  uint64_t zeros = 0;
  while (zeros < tensor.bytes) {
    const uint64_t bytes = std::min<uint64_t>(block.size(), tensor.bytes - zeros);
    const std::span part = std::span(block).first(bytes);
    file.read(tensor.offset + tensor.bytes - zeros - bytes, part);
    const auto last = std::find_if(part.rbegin(), part.rend(),
                                   [](std::byte byte) { return byte != std::byte{0}; });
    zeros += static_cast<uint64_t>(last - part.rbegin());
    if (last != part.rend()) break;
  }
  return zeros;
}

}  // namespace

void refuse_zeros(const FileRange& tensor) {
  const uint64_t zeros = trailing_zeros(tensor);
  if (zeros < tensor.bytes - tensor.bytes / 2) return;
  const std::string name = tensor.name.empty() ? "" : concat(": tensor '", tensor.name, "'");
  const std::string where = zeros == tensor.bytes ? concat("holds only zeros (", zeros, " bytes)")
                                                  : concat("holds only zeros in the last ", zeros,
                                                           " of its ", tensor.bytes, " bytes");
  throw Error(concat(tensor.file.string(), name, ": ", where,
                     ", as a copy that was cut off leaves them; copy or deploy the model again"));
}

void refuse_zeros(const EmbeddingTable& table, const ModelConfig& config) {
  const auto elements = static_cast<uint64_t>(table.rows * config.hidden);
  refuse_zeros({table.file, table.offset, elements * element_bytes(table.type), 0, table.type, ""});
}

}  // namespace kvcalib
