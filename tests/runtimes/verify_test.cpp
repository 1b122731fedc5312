// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/verify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "calibrate/output/weights_transaction.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/formats/fingerprint.h"
#include "sharding/formats/turbomind_directory.h"
#include "tests/message_of.h"
#include "tests/output/child_process.h"
#include "tests/output/output_folder.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr RuntimeRelease kLatest(0, 3, 0);

// The fixture's model in `ranks` files: 3 layers, 4 kv heads x 16.
ModelConfig model(int64_t ranks) {
  ModelConfig config = fixture::small_model();
  config.stored_ranks = ranks;
  return config;
}

// Ranges that differ by layer, head and channel.
KvStatistics statistics(float size = 1.0f) {
  KvStatistics result(3, 4, 16);
  for (size_t i = 0; i < 3 * 4 * 16; ++i) {
    const float extent = size * (1.0f + 0.01f * static_cast<float>(i));
    result.keys.minimum[i] = -extent;
    result.keys.maximum[i] = 2 * extent;
    result.values.minimum[i] = -0.5f * extent;
    result.values.maximum[i] = 0.25f * extent;
  }
  return result;
}

class VerifyTest : public testing::Test {
 protected:
  // The whole output of a run for `ranks` serving ranks.
  void write_output(int64_t ranks, const RuntimeRelease& release = kLatest,
                    ScaleMethod method = ScaleMethod::kAsymmetric) {
    const IniFile config = IniFile::parse(fixture::config_text(model(ranks)), "config.ini");
    put(folder_.path(), {{"config.ini", patch_config(config, release).text()}});
    write_scales(statistics(), ranks, release, method);
    Provenance provenance;
    provenance.model = model(ranks);
    put(folder_.path(), {{kStatisticsFileName, to_safetensors(statistics(), provenance)}});
  }
  void write_scales(const KvStatistics& ranges, int64_t ranks,
                    const RuntimeRelease& release = kLatest,
                    ScaleMethod method = ScaleMethod::kAsymmetric) {
    for (const OutputFile& file :
         scale_files(compute_scales(ranges, ranks, method), ranks, release)) {
      put(folder_.path(), {{file.name, file.bytes}});
    }
  }
  void write_scale(int64_t layer, int64_t rank, const KvScale& scale) {
    put(folder_.path(), {{scale_file_name(layer, rank), scale_file_bytes(scale, kLatest)}});
  }
  void remove(const std::string& name) { fs::remove(folder_.path() / name); }
  void edit_config(const char* key, const char* value) {
    const fs::path path = folder_.path() / "config.ini";
    const std::string text = IniFile::read(path).with(key, value).text();
    put(folder_.path(), {{"config.ini", text}});
  }

  VerifyReport verify(std::optional<int64_t> ranks = std::nullopt,
                      const RuntimeRelease& release = kLatest) {
    return verify_directory(folder_.path(), release, ranks);
  }
  // The one fault there is.
  std::string fault(std::optional<int64_t> ranks = std::nullopt,
                    const RuntimeRelease& release = kLatest) {
    const VerifyReport report = verify(ranks, release);
    std::string text;
    for (const std::string& line : report.faults) text += line + "\n";
    EXPECT_EQ(report.faults.size(), 1u) << text;
    return text;
  }
  static bool notes(const VerifyReport& report, std::string_view part) {
    return std::any_of(report.notes.begin(), report.notes.end(), [&](const std::string& note) {
      return note.find(part) != std::string::npos;
    });
  }

  OutputFolder folder_;
};

TEST_F(VerifyTest, FindsNoFaultInWhatKvcalibWrites) {
  for (const ScaleMethod& method : {ScaleMethod::kAsymmetric, ScaleMethod::kSymmetric}) {
    for (const RuntimeRelease& release : {RuntimeRelease(0, 0, 14), kLatest}) {
      write_output(2, release, method);
      const VerifyReport report = verify(std::nullopt, release);
      EXPECT_TRUE(report.good()) << report.faults.front();
      EXPECT_EQ(report.layers, 3);
      EXPECT_EQ(report.serving_ranks, 2);
      EXPECT_EQ(report.scale_files, 6);
      EXPECT_TRUE(report.compared_with_statistics);
      EXPECT_TRUE(notes(report, "no weights here"));
      EXPECT_TRUE(notes(report, "size_per_head = 16"));
    }
  }
  write_output(2, RuntimeRelease(0, 0, 2), ScaleMethod::kSymmetric);
  EXPECT_TRUE(verify(std::nullopt, RuntimeRelease(0, 0, 2)).good());
}

TEST_F(VerifyTest, FindsNoFaultInAWeightsDirectory) {
  fixture::write_weights(folder_.path(), model(2));
  write_output(2);
  StatisticsFile file{statistics(), {}};
  file.provenance.model = model(2);
  file.provenance.weights_fingerprint =
      weights_fingerprint(TurboMindDirectory::open(folder_.path()));
  put(folder_.path(), {{kStatisticsFileName, to_safetensors(file.statistics, file.provenance)}});
  const VerifyReport report = verify();
  EXPECT_TRUE(report.good()) << report.faults.front();
  EXPECT_FALSE(notes(report, "no weights here"));

  file.provenance.weights_fingerprint = "another";
  put(folder_.path(), {{kStatisticsFileName, to_safetensors(file.statistics, file.provenance)}});
  EXPECT_HOLDS("kv_stats.safetensors: statistics of other weights than those here", fault());
}

TEST_F(VerifyTest, NotesWeightsThatAreIncomplete) {
  fixture::write_weights(folder_.path(), model(2));
  write_output(2);
  remove(kStatisticsFileName);
  remove("layers.1.feed_forward.w2.1.weight");
  const VerifyReport report = verify();
  EXPECT_TRUE(report.good());
  EXPECT_TRUE(notes(report, "layers.1.feed_forward.w2.1.weight"));
}

TEST_F(VerifyTest, RefusesWhatIsNoDirectory) {
  EXPECT_HOLDS("/nonexistent: no directory",
               message_of([] { verify_directory("/nonexistent", kLatest, std::nullopt); }));
}

TEST_F(VerifyTest, FindsAMissingOrBrokenConfig) {
  write_output(2);
  put(folder_.path(), {{"config.ini", "quant_policy = 4\n"}});
  EXPECT_HOLDS("config.ini: has no section [llama]", fault());
  remove("config.ini");
  EXPECT_HOLDS("config.ini: cannot be read: No such file", fault());
}

TEST_F(VerifyTest, FindsConfigKeysThatDoNotFit) {
  write_output(2);
  edit_config("quant_policy", "0");
  EXPECT_HOLDS("config.ini: quant_policy = 0: v0.3.0 would not use the scales", fault());
  edit_config("quant_policy", "4");
  EXPECT_HOLDS("use_context_fmha = 1: flash attention of v0.0.14 reads int8",
               fault(std::nullopt, RuntimeRelease(0, 0, 14)));
  edit_config("weight_type", "bf16");
  EXPECT_HOLDS("config.ini: weight_type = bf16: decoding in v0.2.6 ignores int8",
               fault(std::nullopt, RuntimeRelease(0, 2, 6)));
}

TEST_F(VerifyTest, FindsNoScalesAtAll) {
  put(folder_.path(), {{"config.ini", fixture::config_text(model(2))}});
  edit_config("quant_policy", "4");
  EXPECT_HOLDS("has no KV scale files; calibrate it", fault());
}

TEST_F(VerifyTest, FindsAMissingFile) {
  write_output(2);
  remove(scale_file_name(1, 0));
  EXPECT_HOLDS(
      "layers.1.past_kv_scale.0.weight: missing: v0.3.0 would silently take scale 1 and zero 0",
      fault());
  edit_config("use_context_fmha", "0");
  EXPECT_HOLDS("missing: v0.0.14 would crash", fault(std::nullopt, RuntimeRelease(0, 0, 14)));
}

TEST_F(VerifyTest, FindsScalesOfFewerRanksThanAreServed) {
  write_output(1);
  EXPECT_TRUE(verify().good());
  EXPECT_TRUE(verify(1).good());
  edit_config("vocab_size", "52");
  const VerifyReport report = verify(2);
  ASSERT_FALSE(report.good());
  EXPECT_HOLDS(
      "1 of 2 serving ranks have scale files: v0.3.0 would silently take scale 1 and zero 0; "
      "export them with --serving-tp 2",
      report.faults[0]);
}

TEST_F(VerifyTest, FindsScalesOfMoreRanksThanAreServed) {
  write_output(1);
  write_scales(statistics(), 4);
  remove(kStatisticsFileName);
  const VerifyReport report = verify();
  ASSERT_EQ(report.faults.size(), 3u);
  EXPECT_HOLDS("rank 1: has 3 scale files, but 1 ranks are served: scales cut for more ranks clip",
               report.faults[0]);
  EXPECT_TRUE(verify(4).good());
}

TEST_F(VerifyTest, FindsScalesOfAnotherModel) {
  write_output(2);
  edit_config("num_layer", "2");
  remove(kStatisticsFileName);
  EXPECT_HOLDS("layer 2: has 2 scale files, but num_layer = 2", fault());
}

TEST_F(VerifyTest, EndsForAConfigThatClaimsTheSky) {
  write_output(2);
  edit_config("num_layer", "4611686018427387904");
  remove(kStatisticsFileName);
  const VerifyReport report = verify();
  EXPECT_EQ(report.faults.size(), 2u * 17u);
  EXPECT_HOLDS("rank 1: 4611686018427387885 more scale files are missing", report.faults.back());
}

TEST_F(VerifyTest, FindsNamesTheRuntimeDoesNotRead) {
  write_output(2);
  put(folder_.path(), {{"layers.0.past_kv_scale.00.weight", "x"}});
  EXPECT_HOLDS("layers.0.past_kv_scale.00.weight: no name the runtime reads", fault());
}

TEST_F(VerifyTest, FindsSizesOfAnotherRelease) {
  write_output(2);
  put(folder_.path(), {{scale_file_name(1, 1), std::string(8, 'x')}});
  EXPECT_HOLDS("layers.1.past_kv_scale.1.weight: has 8 bytes, v0.3.0 reads 16; export again",
               fault());
  write_output(2, RuntimeRelease(0, 0, 14), ScaleMethod::kSymmetric);
  const VerifyReport report = verify(std::nullopt, RuntimeRelease(0, 0, 3));
  ASSERT_EQ(report.faults.size(), 6u);
  EXPECT_HOLDS("has 16 bytes, v0.0.3 reads 8", report.faults[0]);
}

TEST_F(VerifyTest, FindsValuesThatNoCalibrationGives) {
  write_output(2);
  remove(kStatisticsFileName);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const auto fault_of = [&](const KvScale& scale) {
    write_scale(0, 1, scale);
    return fault();
  };
  EXPECT_HOLDS("layers.0.past_kv_scale.1.weight: K has scale nan and zero 0; expected finite",
               fault_of({kNan, 0.0f, 1.0f, 0.1f}));
  EXPECT_HOLDS("V has scale 1 and zero -inf; expected finite",
               fault_of({1.0f, 0.5f, 1.0f, -kInfinity}));
  EXPECT_HOLDS("K has scale 0; expected a positive", fault_of({0.0f, 0.5f, 1.0f, 0.1f}));
  EXPECT_HOLDS("V has scale -1; expected a positive", fault_of({1.0f, 0.5f, -1.0f, 0.1f}));
  EXPECT_HOLDS("scale 1 and zero 0 for K and V, which is what no calibration gives",
               fault_of({1.0f, 0.0f, 1.0f, 0.0f}));
}

TEST_F(VerifyTest, FindsARangeThatDoesNotHoldZero) {
  write_output(2);
  remove(kStatisticsFileName);
  write_scale(0, 0, {0.125f, 20.0f, 0.125f, 0.5f});
  EXPECT_HOLDS("K has scale 0.125 and zero 20: its int8 range [4, 35.875] does not hold 0",
               fault());
  write_scale(0, 0, {0.125f, 0.5f, 0.125f, -20.0f});
  EXPECT_HOLDS("V has scale 0.125 and zero -20: its int8 range [-36, -4.125] does not hold 0",
               fault());
  // Ranges that end at 0, as kvcalib writes them.
  write_scale(0, 0, {1.0f / 255.0f, 0.5f, 1.0f / 255.0f, -0.5f});
  EXPECT_TRUE(verify().good());
}

TEST_F(VerifyTest, FindsFilesOfAnotherRun) {
  write_output(2);
  const KvScale other = compute_scales(statistics(1.5f), 2, ScaleMethod::kAsymmetric)[3];
  write_scale(1, 1, other);
  EXPECT_HOLDS(
      "layers.1.past_kv_scale.1.weight: not what kv_stats.safetensors gives for 2 serving ranks",
      fault());
}

TEST_F(VerifyTest, FindsAMixOfMethods) {
  write_output(2);
  remove(kStatisticsFileName);
  write_scale(1, 1, compute_scales(statistics(), 2, ScaleMethod::kSymmetric)[3]);
  EXPECT_HOLDS("layers.1.past_kv_scale.1.weight: symmetric among asymmetric scales", fault());
}

TEST_F(VerifyTest, TakesADegenerateLayerForBothMethods) {
  write_output(2);
  remove(kStatisticsFileName);
  write_scale(1, 1, {kSmallestScale, 0.0f, kSmallestScale, 0.0f});
  EXPECT_TRUE(verify().good());
}

TEST_F(VerifyTest, FindsStatisticsThatAreBrokenOrAnothers) {
  write_output(2);
  edit_config("kv_head_num", "2");
  EXPECT_HOLDS("kv_stats.safetensors: statistics of 3 layers of 4 kv heads x 16, but config.ini",
               fault());
  edit_config("kv_head_num", "4");
  put(folder_.path(), {{kStatisticsFileName, "broken"}});
  EXPECT_HOLDS("kv_stats.safetensors: has 6 bytes, too short", fault());
}

TEST_F(VerifyTest, NotesWhatLiesAround) {
  write_output(2);
  put(folder_.path(), {{"outputs_stats.pth", "x"}});
  const VerifyReport report = verify();
  EXPECT_TRUE(report.good());
  EXPECT_TRUE(notes(report, "outputs_stats.pth"));
  EXPECT_TRUE(notes(report, "pass quant_policy 4 explicitly"));
}

TEST_F(VerifyTest, SeesWhatTheRuntimeSeesInTheMiddleOfACommit) {
  write_output(2);
  const auto replace = [&](const StepHook& step) {
    WeightsTransaction transaction(folder_.path(), true, step);
    for (const OutputFile& file :
         scale_files(compute_scales(statistics(), 1, ScaleMethod::kAsymmetric), 1, kLatest)) {
      transaction.write(file.name, file.bytes);
    }
    transaction.commit();
  };
  for (int64_t step = 0; is_killed_at(step, replace); ++step) {
    const VerifyReport report = verify(2);
    EXPECT_EQ(report.scale_files, report.good() ? 6 : 3) << step;
    EXPECT_TRUE(notes(report, "an in-place run is at work here or was killed") ||
                !WeightsTransaction::is_pending(folder_.path()));
    WeightsTransaction::recover(folder_.path());
    write_output(2);
  }
}

}  // namespace
}  // namespace kvcalib
