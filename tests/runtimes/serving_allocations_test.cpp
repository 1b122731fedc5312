// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/serving_allocations.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "calibrate/runtimes/turbomind/serving_memory.h"
#include "tests/runtimes/model_7b.h"

namespace kvcalib {
namespace {

ServingMemory memory_of(const char* name, const MemorySettings& settings, int64_t sessions,
                        CacheType type) {
  const ServingLoad load{2, sessions, kUsualSessionTokens, 1000, uint64_t{80} << 30U};
  return serving_memory(fixture::model_7b(), find_turbomind_release(name), settings, load, type);
}

ServingMemory memory_of(const char* name, int64_t sessions, CacheType type) {
  return memory_of(name, memory_settings(find_turbomind_release(name), nullptr), sessions, type);
}

std::vector<ServingAllocation> of_part(const ServingMemory& memory, ServingPart part) {
  std::vector<ServingAllocation> found;
  std::copy_if(memory.allocations.begin(), memory.allocations.end(), std::back_inserter(found),
               [part](const ServingAllocation& allocation) { return allocation.part == part; });
  return found;
}

TEST(ServingAllocations, AreTogetherThePartsOfThePlan) {
  for (const char* name : {"0.0.2", "0.0.14", "0.1.0", "0.2.2", "0.3.0"})
    for (const CacheType type : {CacheType::kSixteenBits, CacheType::kInt8}) {
      const ServingMemory memory = memory_of(name, 19, type);
      uint64_t sum = memory.context;
      for (const ServingAllocation& allocation : memory.allocations)
        sum += allocation.bytes * allocation.count;
      EXPECT_EQ(sum, memory.total()) << name;
      EXPECT_EQ(bytes_of(memory.allocations, ServingPart::kCache), memory.cache) << name;
      EXPECT_EQ(bytes_of(memory.allocations, ServingPart::kBuffers), memory.buffers) << name;
    }
}

TEST(ServingAllocations, OfWeightsAreOneForEachTensorAndNoneOfThemPooled) {
  const ServingMemory memory = memory_of("0.3.0", 8, CacheType::kInt8);
  uint64_t tensors = 0;
  for (const ServingAllocation& allocation : of_part(memory, ServingPart::kWeights)) {
    tensors += allocation.count;
    EXPECT_EQ(allocation.taking, Taking::kAlone);
  }
  EXPECT_EQ(tensors, 32U * 7);  // two norms, q with k and v, output, gate, up, down
  for (const ServingPart part : {ServingPart::kCache, ServingPart::kBuffers})
    for (const ServingAllocation& allocation : of_part(memory, part))
      EXPECT_EQ(allocation.taking, Taking::kPooled);
}

TEST(ServingAllocations, OfACacheOfSessionsAreItsChunks) {
  MemorySettings settings = memory_settings(find_turbomind_release("0.0.14"), nullptr);
  settings.cache_chunk_size = 8;
  settings.cache_max_entry_count = 20;
  const std::vector<ServingAllocation> cache =
      of_part(memory_of("0.0.14", settings, 19, CacheType::kInt8), ServingPart::kCache);
  ASSERT_EQ(cache.size(), 2U);  // 20 entries: 8, 8 and 4
  const uint64_t entry = uint64_t{2} * 32 * 16 * 128 * kUsualSessionTokens;
  EXPECT_EQ(cache[0].bytes, 8 * entry);
  EXPECT_EQ(cache[0].count, 2U);
  EXPECT_EQ(cache[1].bytes, 4 * entry);
  EXPECT_EQ(cache[1].count, 1U);
}

TEST(ServingAllocations, OfACacheOfBlocksAreOneOrChunksOrOfItsRoot) {
  MemorySettings settings = memory_settings(find_turbomind_release("0.3.0"), nullptr);
  settings.cache_max_entry_count = 105;
  const auto pieces = [&](int64_t chunk) {
    settings.cache_chunk_size = chunk;
    std::vector<std::pair<uint64_t, uint64_t>> found;  // blocks, how often
    const uint64_t block =
        uint64_t{2} * 32 * 16 * 128 * static_cast<uint64_t>(settings.cache_block_seq_len);
    for (const ServingAllocation& allocation :
         of_part(memory_of("0.3.0", settings, 8, CacheType::kInt8), ServingPart::kCache))
      found.emplace_back(allocation.bytes / block, allocation.count);
    return found;
  };
  using Pieces = std::vector<std::pair<uint64_t, uint64_t>>;
  EXPECT_EQ(pieces(-1), (Pieces{{105, 1}}));
  EXPECT_EQ(pieces(50), (Pieces{{50, 2}, {5, 1}}));
  EXPECT_EQ(pieces(0), (Pieces{{10, 10}, {5, 1}}));
}

TEST(ServingAllocations, OfAnEmptyCacheAreNone) {
  MemorySettings settings = memory_settings(find_turbomind_release("0.3.0"), nullptr);
  settings.cache_max_entry_count = 0;
  EXPECT_TRUE(
      of_part(memory_of("0.3.0", settings, 8, CacheType::kInt8), ServingPart::kCache).empty());
}

}  // namespace
}  // namespace kvcalib
