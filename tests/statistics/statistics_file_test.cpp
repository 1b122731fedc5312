// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/statistics_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "sharding/files/safetensors.h"
#include "tests/message_of.h"
#include "tests/safetensors_bytes.h"
#include "tests/statistics/statistics_bytes.h"

namespace kvcalib {
namespace {

KvStatistics example_statistics() {
  KvStatistics statistics(2, 2, 3);
  for (size_t i = 0; i < 12; ++i) {
    statistics.keys.minimum[i] = -1.5f * static_cast<float>(i);
    statistics.keys.maximum[i] = 0.5f * static_cast<float>(i);
    statistics.values.minimum[i] = -0.1f;
    statistics.values.maximum[i] = 0.1f * static_cast<float>(i);
  }
  return statistics;
}

Provenance example_provenance() {
  Provenance provenance;
  provenance.program_version = "0.1.0";
  provenance.weights_fingerprint = "f00d";
  provenance.model.layers = 2;
  provenance.model.heads = 4;
  provenance.model.kv_heads = 2;
  provenance.model.head_dim = 3;
  provenance.model.hidden = 12;
  provenance.model.weight_type = WeightType::kBFloat16;
  provenance.model.norm_eps = 1e-5;
  provenance.model.rope_theta = 1e6;
  provenance.model.use_dynamic_ntk = true;
  provenance.model.session_length = 2056;
  provenance.runtime = "v0.0.14";
  provenance.compute_dtype = "float32";
  provenance.data = {{"a.json.gz", "00ff"}, {"b \"quoted\".txt", "11"}};
  provenance.tokenizer_sha256 = "abc";
  provenance.seed = 18446744073709551615u;
  provenance.samples = 8;
  provenance.length = 512;
  provenance.packed = true;
  return provenance;
}

std::string example_bytes() { return to_safetensors(example_statistics(), example_provenance()); }

// The message for the example's file after `change`.
template <typename Change>
std::string refusal(Change change) {
  Safetensors file = Safetensors::parse(example_bytes(), "s");
  change(file);
  return message_of([&] { parse_statistics(safetensors_bytes(file), "dir/kv_stats.safetensors"); });
}

TEST(StatisticsFile, ReadsBackWhatItWrote) {
  const std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) / "kvcalib_statistics_test.safetensors";
  std::ofstream(path, std::ios::binary) << example_bytes();
  const StatisticsFile file = read_statistics(path);
  std::filesystem::remove(path);

  const KvStatistics statistics = example_statistics();
  EXPECT_EQ(file.statistics.layers, 2);
  EXPECT_EQ(file.statistics.kv_heads, 2);
  EXPECT_EQ(file.statistics.head_dim, 3);
  EXPECT_EQ(file.statistics.keys.minimum, statistics.keys.minimum);
  EXPECT_EQ(file.statistics.keys.maximum, statistics.keys.maximum);
  EXPECT_EQ(file.statistics.values.minimum, statistics.values.minimum);
  EXPECT_EQ(file.statistics.values.maximum, statistics.values.maximum);

  const Provenance expected = example_provenance();
  EXPECT_EQ(file.provenance.program_version, expected.program_version);
  EXPECT_EQ(file.provenance.weights_fingerprint, expected.weights_fingerprint);
  EXPECT_EQ(file.provenance.model.kv_heads, 2);
  EXPECT_EQ(file.provenance.model.weight_type, WeightType::kBFloat16);
  EXPECT_EQ(file.provenance.model.norm_eps, 1e-5);
  EXPECT_EQ(file.provenance.model.rope_theta, 1e6);
  EXPECT_TRUE(file.provenance.model.use_dynamic_ntk);
  EXPECT_EQ(file.provenance.model.session_length, 2056);
  EXPECT_EQ(file.provenance.data, expected.data);
  EXPECT_EQ(file.provenance.tokenizer_sha256, "abc");
  EXPECT_EQ(file.provenance.seed, expected.seed);
  EXPECT_EQ(file.provenance.samples, 8);
  EXPECT_EQ(file.provenance.length, 512);
  EXPECT_TRUE(file.provenance.packed);
  EXPECT_EQ(file.provenance.runtime, "v0.0.14");
  EXPECT_EQ(file.provenance.channel_order, "interleaved");
  EXPECT_EQ(to_safetensors(file.statistics, file.provenance), example_bytes());
}

TEST(StatisticsFile, HoldsTheDocumentedTensors) {
  const Safetensors file = Safetensors::parse(example_bytes(), "s");
  EXPECT_EQ(file.metadata.at("format"), "kvcalib-kv-statistics");
  EXPECT_EQ(file.metadata.at("version"), "1");
  ASSERT_EQ(file.tensors.size(), 4u);
  for (const char* name : {"key.minimum", "key.maximum", "value.minimum", "value.maximum"}) {
    EXPECT_EQ(file.tensors.at(name).dtype, "F32");
    EXPECT_EQ(file.tensors.at(name).shape, (std::vector<int64_t>{2, 2, 3}));
  }
}

TEST(StatisticsFile, RefusesAnotherFormatOrVersion) {
  EXPECT_HOLDS("dir/kv_stats.safetensors: not kvcalib's statistics",
               refusal([](Safetensors& file) { file.metadata.erase("format"); }));
  EXPECT_HOLDS("statistics of version '2', this program reads version 1",
               refusal([](Safetensors& file) { file.metadata["version"] = "2"; }));
}

TEST(StatisticsFile, RefusesADamagedProvenance) {
  for (const char* text : {"", "{", "[]", "{\"model\": 3}", "{\"program_version\": 1}"}) {
    EXPECT_HOLDS("its provenance is damaged",
                 refusal([&](Safetensors& file) { file.metadata["provenance"] = text; }));
  }
}

TEST(StatisticsFile, RefusesTensorsOfAnotherShape) {
  EXPECT_HOLDS("has no tensor 'value.minimum'",
               refusal([](Safetensors& file) { file.tensors.erase("value.minimum"); }));
  EXPECT_HOLDS("tensor 'key.maximum' is not F32 [2, 2, 3]", refusal([](Safetensors& file) {
                 file.tensors["key.maximum"].shape = {2, 3, 2};
               }));
  EXPECT_HOLDS("tensor 'key.maximum' is not F32 [2, 2, 3]",
               refusal([](Safetensors& file) { file.tensors["key.maximum"].dtype = "I32"; }));
  Provenance provenance = example_provenance();
  provenance.model.layers = 0;
  EXPECT_HOLDS("its provenance states 0 layers", message_of([&] {
                 parse_statistics(to_safetensors(KvStatistics(0, 2, 3), provenance), "s");
               }));
}

TEST(StatisticsFile, RefusesRangesThatAreNotFiniteOrNotInOrder) {
  const auto put = [](float value) {
    return [value](Safetensors& file) {
      std::memcpy(file.tensors["value.maximum"].bytes.data() + 4 * 11, &value, 4);
    };
  };
  const std::string place =
      "dir/kv_stats.safetensors: tensor 'value', layer 1, head 1, channel 2: the range is [-0.1, ";
  EXPECT_HOLDS(place + "inf]", refusal(put(std::numeric_limits<float>::infinity())));
  EXPECT_HOLDS(place + "nan]", refusal(put(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_HOLDS(place + "-0.2]", refusal(put(-0.2f)));
  EXPECT_EQ(refusal(put(-0.1f)), "nothing was thrown");
}

TEST(StatisticsFile, RefusesAFileThatIsCut) {
  const std::string bytes = example_bytes();
  for (size_t size = 0; size < bytes.size(); size += 7) {
    EXPECT_NE(message_of([&] { parse_statistics(bytes.substr(0, size), "s"); }),
              "nothing was thrown")
        << size;
  }
}

}  // namespace
}  // namespace kvcalib
