// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/statistics_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <tuple>

#include "sharding/files/safetensors.h"
#include "tests/message_of.h"
#include "tests/safetensors_bytes.h"
#include "tests/statistics/statistics_bytes.h"

namespace kvcalib {
namespace {

using nlohmann::json;

KvStatistics example_statistics() {
  KvStatistics statistics(2, 2, 4);
  for (size_t i = 0; i < 16; ++i) {
    statistics.keys.minimum[i] = -1.5f * static_cast<float>(i);
    statistics.keys.maximum[i] = 0.5f * static_cast<float>(i);
    statistics.values.minimum[i] = -0.1f;
    statistics.values.maximum[i] = 0.1f * static_cast<float>(i);
  }
  return statistics;
}

const std::string kHash = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

Provenance example_provenance() {
  ModelConfig model;
  model.layers = 2;
  model.heads = 4;
  model.kv_heads = 2;
  model.head_dim = 4;
  model.hidden = 16;
  model.intermediate = 24;
  model.vocab = 50;
  model.weight_type = WeightType::kBFloat16;
  model.norm_eps = 1e-5;
  model.rope_theta = 1e6;
  model.use_dynamic_ntk = true;
  model.session_length = 2056;
  Provenance provenance = provenance_of(model);
  provenance.runtime = "v0.0.14";
  provenance.data = {{"a.json.gz", kHash}, {"b \"quoted\".txt", kHash}};
  provenance.tokenizer_sha256 = kHash;
  provenance.seed = 18446744073709551615u;
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
  EXPECT_EQ(file.statistics.head_dim, 4);
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
  EXPECT_EQ(file.provenance.tokenizer_sha256, kHash);
  EXPECT_EQ(file.provenance.seed, expected.seed);
  EXPECT_EQ(file.provenance.samples, 8);
  EXPECT_EQ(file.provenance.length, 512);
  EXPECT_TRUE(file.provenance.packed);
  EXPECT_EQ(file.provenance.runtime, "v0.0.14");
  EXPECT_EQ(file.provenance.channel_order, "interleaved");
  EXPECT_EQ(to_safetensors(file.statistics, file.provenance), example_bytes());
}

TEST(StatisticsFile, SaysWhereItWasDerived) {
  EXPECT_EQ(parse_statistics(example_bytes(), "s").provenance.equalised, std::nullopt);
  EXPECT_EQ(example_bytes().find("equalised"), std::string::npos);
  Provenance provenance = example_provenance();
  provenance.equalised = {kHash, true};
  const std::string bytes = to_safetensors(example_statistics(), provenance);
  EXPECT_EQ(parse_statistics(bytes, "s").provenance.equalised, provenance.equalised);
  provenance.equalised->weights_fingerprint = "of nothing";
  EXPECT_HOLDS("from = of nothing, expected 64 hexadecimal digits", message_of([&] {
                 parse_statistics(to_safetensors(example_statistics(), provenance), "s");
               }));
}

TEST(StatisticsFile, HoldsTheDocumentedTensors) {
  const Safetensors file = Safetensors::parse(example_bytes(), "s");
  EXPECT_EQ(file.metadata.at("format"), "kvcalib-kv-statistics");
  EXPECT_EQ(file.metadata.at("version"), "2");
  ASSERT_EQ(file.tensors.size(), 4u);
  for (const char* name : {"key.minimum", "key.maximum", "value.minimum", "value.maximum"}) {
    EXPECT_EQ(file.tensors.at(name).dtype, "F32");
    EXPECT_EQ(file.tensors.at(name).shape, (std::vector<int64_t>{2, 2, 4}));
  }
}

TEST(StatisticsFile, RefusesAnotherFormatOrVersion) {
  EXPECT_HOLDS("dir/kv_stats.safetensors: not kvcalib's statistics",
               refusal([](Safetensors& file) { file.metadata.erase("format"); }));
  EXPECT_HOLDS("statistics of version '3', this program reads versions 1 and 2",
               refusal([](Safetensors& file) { file.metadata["version"] = "3"; }));
}

TEST(StatisticsFile, ReadsTheFirstVersion) {
  Safetensors file = Safetensors::parse(example_bytes(), "s");
  file.metadata["version"] = "1";
  const KvStatistics read = parse_statistics(safetensors_bytes(file), "s").statistics;
  EXPECT_EQ(read.keys, example_statistics().keys);
  EXPECT_EQ(read.values, example_statistics().values);
  EXPECT_TRUE(read.key_reach.empty());
}

KvStatistics with_histograms() {
  KvStatistics statistics = example_statistics();
  for (const KvTensor& tensor : kKvTensors) {
    TensorHistograms& histograms = statistics.*tensor.histograms;
    histograms.counts.assign(4 * kHistogramBins, 3);
    histograms.importance.assign(4 * kHistogramBins, 0x1p50F);
    const float unit =
        tensor.statistics == &KvStatistics::keys ? 1.0F : 0.05F;  // within the ranges
    for (int i = 0; i < 4 * (kMostLeftOut + 1); ++i)
      histograms.extremes.insert(histograms.extremes.end(),
                                 {-1.5F * unit, 0.25F * unit * static_cast<float>(i)});
  }
  return statistics;
}

TEST(StatisticsFile, HoldsTheHistogramsWhereTheyWereGathered) {
  const KvStatistics statistics = with_histograms();
  const std::string bytes = to_safetensors(statistics, example_provenance());
  const KvStatistics read = parse_statistics(bytes, "s").statistics;
  EXPECT_EQ(read.key_histograms, statistics.key_histograms);
  EXPECT_EQ(read.value_histograms, statistics.value_histograms);
  const Safetensors file = Safetensors::parse(bytes, "s");
  EXPECT_EQ(file.tensors.size(), 10u);
  EXPECT_EQ(file.tensors.at("key.counts").shape, (std::vector<int64_t>{2, 2, 1024}));
  EXPECT_EQ(file.tensors.at("value.importance").shape, (std::vector<int64_t>{2, 2, 1024}));
  EXPECT_EQ(file.tensors.at("value.extremes").shape, (std::vector<int64_t>{2, 2, 9, 2}));
  EXPECT_TRUE(parse_statistics(example_bytes(), "s").statistics.key_histograms.empty());
}

// The message for histograms after `change`.
template <typename Change>
std::string histogram_refusal(Change change) {
  KvStatistics statistics = with_histograms();
  change(statistics);
  return message_of(
      [&] { parse_statistics(to_safetensors(statistics, example_provenance()), "s"); });
}

TEST(StatisticsFile, RefusesHistogramsThatNoCalibrationGathers) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_HOLDS("s: tensor 'key.importance' is missing, expected all of the histograms or none",
               histogram_refusal([](KvStatistics& all) { all.key_histograms.importance.clear(); }));
  EXPECT_HOLDS("s: tensor 'value.counts' is alone",
               histogram_refusal([](KvStatistics& all) { all.key_histograms = {}; }));
  EXPECT_HOLDS("tensor 'value.counts', layer 1, head 0: holds -3, expected a mass",
               histogram_refusal([](KvStatistics& all) {
                 all.value_histograms.counts[2 * kHistogramBins + 5] = -3;
               }));
  EXPECT_HOLDS("tensor 'key.importance', layer 0, head 1: holds nan",
               histogram_refusal([&](KvStatistics& all) {
                 all.key_histograms.importance[kHistogramBins] = kNan;
               }));
  EXPECT_HOLDS("tensor 'key.extremes', layer 1, head 1: holds 1, expected ends of a range about 0",
               histogram_refusal([](KvStatistics& all) {
                 all.key_histograms.extremes[3 * 2 * (kMostLeftOut + 1)] = 1;
               }));
}

TEST(StatisticsFile, RefusesHistogramsOfOtherRanges) {
  EXPECT_HOLDS("'value.extremes', layer 0, head 1: extremes [-0.2, 0.1125], expected them within",
               histogram_refusal([](KvStatistics& all) {
                 all.value_histograms.extremes[2 * (kMostLeftOut + 1)] = -0.2F;
               }));
  EXPECT_HOLDS("'key.extremes', layer 1, head 1: no value is counted",
               histogram_refusal([](KvStatistics& all) {
                 std::fill_n(all.key_histograms.counts.end() - kHistogramBins, kHistogramBins,
                             0.0F);
               }));
}

TEST(StatisticsFile, HoldsTheReachWhereItIsKnown) {
  KvStatistics statistics = example_statistics();
  for (size_t i = 0; i < 2 * 2 * 2 * kReachDirections; ++i)
    statistics.key_reach.push_back(0.25f * static_cast<float>(i));
  const std::string bytes = to_safetensors(statistics, example_provenance());
  EXPECT_EQ(parse_statistics(bytes, "s").statistics.key_reach, statistics.key_reach);
  EXPECT_EQ(Safetensors::parse(bytes, "s").tensors.at("key.reach").shape,
            (std::vector<int64_t>{2, 2, 2, kReachDirections}));
  statistics.key_reach[2 * kReachDirections + 3] = std::numeric_limits<float>::infinity();
  EXPECT_HOLDS("s: tensor 'key.reach', layer 0, head 1, rotary pair 0: holds inf", message_of([&] {
                 parse_statistics(to_safetensors(statistics, example_provenance()), "s");
               }));
}

// The message for the example's file whose provenance has `text` in the place of `from`.
std::string refusal_of_provenance(const std::string& from, const std::string& text) {
  return refusal([&](Safetensors& file) {
    std::string& provenance = file.metadata["provenance"];
    const size_t at = provenance.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    provenance.replace(at, from.size(), text);
  });
}

TEST(StatisticsFile, RefusesADamagedProvenance) {
  for (const char* text : {"", "{", "[]", "{\"model\": 3}", "{\"program_version\": 1}"}) {
    const std::string message =
        refusal([&](Safetensors& file) { file.metadata["provenance"] = text; });
    EXPECT_HOLDS("dir/kv_stats.safetensors: its provenance", message);
    EXPECT_HOLDS("; calibrate again", message);
  }
  const json whole = json::parse(Safetensors::parse(example_bytes(), "").metadata["provenance"]);
  for (const auto& [key, value] : whole.items()) {
    json without = whole;
    without.erase(key);
    EXPECT_HOLDS(concat(key, " is missing"),
                 refusal([&](Safetensors& file) { file.metadata["provenance"] = without.dump(); }));
  }
}

TEST(StatisticsFile, RefusesAProvenanceThatNoCalibrationWrites) {
  const std::tuple<const char*, const char*, const char*> cases[] = {
      {"\"layers\":2", "\"layers\":100000000000", "model: layers = 100000000000, expected"},
      {"\"layers\":2", "\"layers\":0", "model: layers = 0, expected"},
      {"\"layers\":2", "\"layers\":2.0", "layers = 2.0, expected a whole number"},
      {"\"stored_ranks\":1", "\"stored_ranks\":1099511627776", "stored_ranks = 1099511627776"},
      {"\"norm_eps\":1e-05", "\"norm_eps\":-1", "norm_eps = -1, expected > 0"},
      {"\"weight_type\":\"bfloat16\"", "\"weight_type\":\"int4\"", "weight_type = int4"},
      {"\"samples\":8", "\"samples\":-8", "samples = -8, expected"},
      {"\"length\":512", "\"length\":9223372036854775807", "length = 9223372036854775807"},
      {"\"seed\":18446744073709551615", "\"seed\":-1", "seed = -1, expected a whole number"},
      {"\"packed\":true", "\"packed\":1", "packed = 1, expected true or false"},
      {"\"compute_dtype\":\"float32\"", "\"compute_dtype\":\"float8\"",
       "compute_dtype = float8, expected float32, float16, bfloat16"},
      {"\"channel_order\":\"inter", "\"channel_order\":\"un", "channel_order = unleaved"},
      {"\"weights_fingerprint\":\"f", "\"weights_fingerprint\":\"", "expected 64 hexadecimal"},
      {"\"sha256\":\"0", "\"sha256\":\"g", "data, entry 1: sha256 = g123456789abcdef"}};
  for (const auto& [from, text, expected] : cases)
    EXPECT_HOLDS(expected, refusal_of_provenance(from, text));
}

TEST(StatisticsFile, RefusesTensorsOfAnotherShape) {
  EXPECT_HOLDS("has no tensor 'value.minimum'",
               refusal([](Safetensors& file) { file.tensors.erase("value.minimum"); }));
  EXPECT_HOLDS("tensor 'key.maximum' is not F32 [2, 2, 4]", refusal([](Safetensors& file) {
                 file.tensors["key.maximum"].shape = {2, 4, 2};
               }));
  EXPECT_HOLDS("tensor 'key.maximum' is not F32 [2, 2, 4]",
               refusal([](Safetensors& file) { file.tensors["key.maximum"].dtype = "I32"; }));
}

TEST(StatisticsFile, RefusesRangesThatAreNotFiniteOrNotInOrder) {
  const auto put = [](float value) {
    return [value](Safetensors& file) {
      std::memcpy(file.tensors["value.maximum"].bytes.data() + 4 * 15, &value, 4);
    };
  };
  const std::string place =
      "dir/kv_stats.safetensors: tensor 'value', layer 1, head 1, channel 3: the range is [-0.1, ";
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
