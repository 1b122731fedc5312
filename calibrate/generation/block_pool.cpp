// SPDX-License-Identifier: Apache-2.0
#include "calibrate/generation/block_pool.h"

#include <numeric>
#include <stdexcept>

#include "sharding/files/error.h"

namespace kvcalib {

BlockPool::BlockPool(int64_t blocks)
    : holders_(static_cast<size_t>(blocks)), free_(static_cast<size_t>(blocks)) {
  std::iota(free_.rbegin(), free_.rend(), 0);
}

std::vector<int32_t> BlockPool::take(int64_t count) {
  if (count < 0 || count > free())
    throw std::invalid_argument(concat("block_pool: ", count, " blocks of ", free()));
  const std::vector<int32_t> taken(free_.rbegin(), free_.rbegin() + count);
  free_.resize(free_.size() - static_cast<size_t>(count));
  share(taken);
  return taken;
}

void BlockPool::share(std::span<const int32_t> blocks) {
  for (const int32_t block : blocks) ++holders_.at(static_cast<size_t>(block));
}

void BlockPool::give_back(std::span<const int32_t> blocks) {
  for (const int32_t block : blocks) {
    int32_t& holders = holders_.at(static_cast<size_t>(block));
    if (holders == 0) throw std::invalid_argument(concat("block_pool: nobody holds ", block));
    if (--holders == 0) free_.push_back(block);
  }
}

}  // namespace kvcalib
