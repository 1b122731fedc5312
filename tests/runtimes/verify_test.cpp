// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/verify.h"

#include "calibrate/output/weights_transaction.h"
#include "calibrate/runtimes/turbomind/turbomind.h"
#include "sharding/formats/fingerprint.h"
#include "sharding/formats/turbomind_directory.h"
#include "tests/output/child_process.h"
#include "tests/runtimes/verify_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;

class VerifyTest : public VerifyFixture {};

TEST_F(VerifyTest, FindsNoFaultInWhatKvcalibWrites) {
  for (const ScaleMethod& method : {ScaleMethod::kAsymmetric, ScaleMethod::kSymmetric}) {
    for (const TurboMindRelease& release : {find_turbomind_release("0.0.14"), kLatest}) {
      write_output(2, release, method);
      const VerifyReport report = verify(std::nullopt, release);
      EXPECT_TRUE(report.good()) << report.faults.front();
      EXPECT_EQ(report.layers, 3);
      EXPECT_EQ(report.serving_ranks, 2);
      EXPECT_TRUE(notes(report, "no weights here"));
      EXPECT_TRUE(notes(report, "size_per_head = 16"));
    }
  }
  write_output(2, find_turbomind_release("0.0.2"), ScaleMethod::kSymmetric);
  EXPECT_TRUE(verify(std::nullopt, find_turbomind_release("0.0.2")).good());
}

TEST_F(VerifyTest, FindsNoFaultInAWeightsDirectory) {
  fixture::write_weights(folder_.path(), model(2));
  write_output(2);
  StatisticsFile file{statistics(), provenance_of(model(2))};
  file.provenance.weights_fingerprint =
      weights_fingerprint(TurboMindDirectory::open(folder_.path()));
  put(folder_.path(), {{kStatisticsFileName, to_safetensors(file.statistics, file.provenance)}});
  const VerifyReport report = verify();
  EXPECT_TRUE(report.good()) << report.faults.front();
  EXPECT_FALSE(notes(report, "no weights here"));

  file.provenance.weights_fingerprint = std::string(64, 'a');
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
               fault(std::nullopt, find_turbomind_release("0.0.14")));
  edit_config("weight_type", "bf16");
  EXPECT_HOLDS("config.ini: weight_type = bf16: decoding in v0.2.6 ignores int8",
               fault(std::nullopt, find_turbomind_release("0.2.6")));
}

TEST_F(VerifyTest, NotesWhatLiesAround) {
  write_output(2);
  put(folder_.path(), {{"outputs_stats.pth", "x"}});
  const VerifyReport report = verify();
  EXPECT_TRUE(report.good());
  EXPECT_TRUE(notes(report, "outputs_stats.pth: v0.2.2 and later take a folder with this file"));
  EXPECT_TRUE(notes(report, "pass quant_policy 4 explicitly"));
}

TEST_F(VerifyTest, SeesWhatTheRuntimeSeesInTheMiddleOfACommit) {
  write_output(2);
  const auto replace = [&](const StepHook& step) {
    WeightsTransaction transaction(folder_.path(), turbomind_file_names(), true, step);
    for (const OutputFile& file :
         scale_files(compute_scales(statistics(), 1, ScaleMethod::kAsymmetric), 1, kLatest)) {
      transaction.write(file.name, file.bytes);
    }
    transaction.commit();
  };
  for (int64_t step = 0; is_killed_at(step, replace); ++step) {
    const VerifyReport report = verify(2);
    const Files seen = visible(folder_.path());
    const auto found = std::count_if(
        seen.begin(), seen.end(), [](const auto& file) { return is_scale_file_name(file.first); });
    EXPECT_EQ(found, report.good() ? 6 : 3) << step;
    EXPECT_TRUE(notes(report, "an in-place run is at work here or was killed") ||
                !WeightsTransaction::is_pending(folder_.path()));
    WeightsTransaction::recover(folder_.path(), turbomind_file_names());
    write_output(2);
  }
}

}  // namespace
}  // namespace kvcalib
