// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cache_blocks.h"

namespace kvcalib {

using kernels::kBlockTokens;

// Blocks that so many tokens take.
inline int64_t blocks_of(int64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

// Which blocks of a cache are free, and how many hold each of the others.
class BlockPool {
 public:
  explicit BlockPool(int64_t blocks);

  int64_t free() const { return static_cast<int64_t>(free_.size()); }
  // Blocks that were free, with one holder each.  Throws std::invalid_argument when there are
  // fewer.
  std::vector<int32_t> take(int64_t count);
  // One holder more of each.
  void share(std::span<const int32_t> blocks);
  // One holder less of each; those without are free again.  Throws std::invalid_argument for a
  // block that nobody holds.
  void give_back(std::span<const int32_t> blocks);

 private:
  std::vector<int32_t> holders_;  // by block
  std::vector<int32_t> free_;     // the next is the last
};

}  // namespace kvcalib
