// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/serving_memory.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/message_of.h"
#include "tests/runtimes/model_7b.h"

namespace kvcalib {
namespace {

constexpr double kMiB = 1 << 20;

const TurboMindRelease& release(const char* text) { return find_turbomind_release(text); }

ModelConfig model_104b() {
  ModelConfig config;
  config.layers = 82;
  config.hidden = 10240;
  config.heads = config.kv_heads = 80;
  config.head_dim = 128;
  config.intermediate = 27392;
  config.vocab = 65632;
  return config;
}

// With the vocabulary of the published table.
ModelConfig model_7b() { return fixture::model_7b(49954); }

ServingLoad load(int64_t ranks, int64_t sessions, int64_t prompt) {
  return {ranks, sessions, kUsualSessionTokens, prompt, uint64_t{80} << 30U};
}

ServingMemory memory_of(const ModelConfig& model, const char* name, const ServingLoad& load,
                        CacheType type) {
  return serving_memory(model, release(name), memory_settings(release(name), nullptr), load, type);
}

// lmdeploy's docs/zh_cn/quantization.md, memory of a 7B model on one GPU, in MiB.
TEST(ServingMemory, IsThatOfThePublishedTableOfA7BModel) {
  struct Published {
    int64_t sessions;
    double sixteen_bits, int8;
  };
  for (const Published& row : {Published{8, 22337, 18241}, Published{16, 30593, 22369},
                               Published{32, 47073, 30625}, Published{48, 63553, 38881}}) {
    const ServingLoad short_prompts = load(1, row.sessions, 16);
    const auto all = [&](CacheType type) {
      return static_cast<double>(memory_of(model_7b(), "0.0.2", short_prompts, type).total());
    };
    EXPECT_NEAR(all(CacheType::kSixteenBits) / kMiB / row.sixteen_bits, 1, 0.005) << row.sessions;
    EXPECT_NEAR(all(CacheType::kInt8) / kMiB / row.int8, 1, 0.005) << row.sessions;
  }
}

// The same page: 100B on eight GPUs, in GB.
TEST(ServingMemory, IsWithinOneAndAHalfGBOfThePublishedTableOfA104BModel) {
  struct Published {
    int64_t sessions;
    CacheType type;
    double gigabytes;
  };
  for (const Published& row :
       {Published{16, CacheType::kSixteenBits, 43}, Published{16, CacheType::kInt8, 40},
        Published{32, CacheType::kSixteenBits, 60}, Published{32, CacheType::kInt8, 48}}) {
    const ServingMemory memory =
        memory_of(model_104b(), "0.0.2", load(8, row.sessions, 2048), row.type);
    EXPECT_NEAR(static_cast<double>(memory.total()) / 1e9, row.gigabytes, 1.5)
        << row.sessions << " sessions";
  }
}

TEST(ServingMemory, OfInt8GoesIntoUnfusedAttentionBeforeV010) {
  const ServingLoad all_long = load(8, 16, 2048);
  const ServingMemory before = memory_of(model_104b(), "0.0.14", all_long, CacheType::kInt8);
  EXPECT_NEAR(static_cast<double>(before.unfused_attention) / 1e9, 1.59, 0.01);
  EXPECT_EQ(memory_of(model_104b(), "0.0.14", all_long, CacheType::kSixteenBits).unfused_attention,
            0u);
  EXPECT_EQ(memory_of(model_104b(), "0.1.0", all_long, CacheType::kInt8).unfused_attention, 0u);
}

TEST(ServingMemory, StaysAndTokensDoubleWhereTheCacheIsAShareOfTheMemory) {
  for (const char* name : {"0.1.0", "0.2.1", "0.2.2", "0.3.0"}) {
    const ServingMemory sixteen_bits =
        memory_of(model_104b(), name, load(8, 32, 2048), CacheType::kSixteenBits);
    const ServingMemory int8 = memory_of(model_104b(), name, load(8, 32, 2048), CacheType::kInt8);
    EXPECT_NEAR(static_cast<double>(int8.total()) / static_cast<double>(sixteen_bits.total()), 1,
                0.001)
        << name;
    EXPECT_NEAR(
        static_cast<double>(int8.cached_tokens) / static_cast<double>(sixteen_bits.cached_tokens),
        2, 0.002)
        << name;
  }
}

// ratio x all memory to v0.2.1, ratio x what the weights leave from v0.2.2 on.
TEST(ServingMemory, GivesTheCacheItsShareOfWhatTheReleaseTakesForTheWhole) {
  const ServingLoad any = load(8, 1, 16);
  const ServingMemory of_all = memory_of(model_104b(), "0.2.1", any, CacheType::kInt8);
  EXPECT_NEAR(static_cast<double>(of_all.cache), 0.5 * static_cast<double>(any.card_bytes), 3e7);
  const ServingMemory of_free = memory_of(model_104b(), "0.2.2", any, CacheType::kInt8);
  const auto free =
      static_cast<double>(any.card_bytes - of_free.weights - of_free.tables - of_free.context);
  EXPECT_NEAR(static_cast<double>(of_free.cache), 0.8 * free, 3e7);
}

TEST(ServingMemory, HoldsNoMoreSessionsThanCacheMaxEntryCount) {
  const ServingMemory memory =
      memory_of(model_7b(), "0.0.14", load(1, 64, 16), CacheType::kSixteenBits);
  EXPECT_EQ(memory.cached_sessions, 48);
  EXPECT_EQ(memory.cached_tokens, 48 * kUsualSessionTokens);
}

TEST(ServingMemory, IsDividedByTheGpusButForTables) {
  const ServingMemory one =
      memory_of(model_104b(), "0.0.14", load(1, 16, 16), CacheType::kSixteenBits);
  const ServingMemory eight =
      memory_of(model_104b(), "0.0.14", load(8, 16, 16), CacheType::kSixteenBits);
  EXPECT_EQ(eight.tables, one.tables);
  EXPECT_EQ(eight.cache * 8, one.cache);
  EXPECT_NEAR(static_cast<double>(eight.weights) * 8 / static_cast<double>(one.weights), 1, 0.001);
}

TEST(SessionsThatFit, AreTheLastThatFit) {
  for (const char* name : {"0.0.14", "0.1.0", "0.3.0"}) {
    for (const CacheType type : {CacheType::kSixteenBits, CacheType::kInt8}) {
      const MemorySettings settings = memory_settings(release(name), nullptr);
      const auto fits = [&](int64_t sessions) {
        const ServingLoad tried = load(8, sessions, kUsualSessionTokens);
        const ServingMemory memory =
            serving_memory(model_104b(), release(name), settings, tried, type);
        return memory.total() <= tried.card_bytes && memory.cached_sessions >= sessions;
      };
      const int64_t most = sessions_that_fit(model_104b(), release(name), settings,
                                             load(8, 1, kUsualSessionTokens), type);
      EXPECT_GT(most, 0) << name;
      EXPECT_TRUE(fits(most)) << name;
      EXPECT_FALSE(fits(most + 1)) << name;
    }
  }
}

TEST(SessionsThatFit, AreNoneWhereTheWeightsDoNot) {
  const MemorySettings settings = memory_settings(release("0.3.0"), nullptr);
  EXPECT_EQ(
      sessions_that_fit(model_104b(), release("0.3.0"), settings, load(1, 1, 16), CacheType::kInt8),
      0);
}

IniFile config(const std::string& keys) {
  return IniFile::parse("[llama]\n" + keys, "w/config.ini");
}

TEST(MemorySettings, AreThoseOfConfigIniWhereItHasThem) {
  const IniFile of_directory =
      config("cache_max_entry_count = 0.7\ncache_block_seq_len = 256\nmax_batch_size = 16\n");
  const MemorySettings settings = memory_settings(release("0.3.0"), &of_directory);
  EXPECT_EQ(settings.cache_max_entry_count, 0.7);
  EXPECT_EQ(settings.cache_block_seq_len, 256);
  EXPECT_EQ(settings.max_batch_size, 16);
  EXPECT_EQ(settings.max_context_token_num, 1);  // as converted
}

TEST(MemorySettings, AreRefusedWhereTheyCannotBe) {
  const auto message = [](const char* name, const std::string& keys) {
    const IniFile of_directory = config(keys);
    return message_of([&] { memory_settings(release(name), &of_directory); });
  };
  EXPECT_HOLDS("w/config.ini: cache_max_entry_count = 0.5: v0.0.14 takes it for a number of",
               message("0.0.14", "cache_max_entry_count = 0.5\n"));
  EXPECT_HOLDS("cache_block_seq_len = 0: expected at least 1",
               message("0.3.0", "cache_block_seq_len = 0\n"));
  for (const char* value : {"-1", "1e300", "1.5"})
    EXPECT_HOLDS("max_batch_size", message("0.3.0", concat("max_batch_size = ", value, "\n")))
        << value;
}

}  // namespace
}  // namespace kvcalib
