// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/verify_statistics.h"

#include "tests/runtimes/verify_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;

class VerifyStatisticsTest : public VerifyFixture {};

TEST_F(VerifyStatisticsTest, FindsFilesOfAnotherRun) {
  write_output(2);
  const KvScale other = compute_scales(statistics(1.5f), 2, ScaleMethod::kAsymmetric)[3];
  write_scale(1, 1, other);
  EXPECT_HOLDS(
      "layers.1.past_kv_scale.1.weight: not what kv_stats.safetensors gives for 2 serving ranks",
      fault());
}

TEST_F(VerifyStatisticsTest, FindsStatisticsThatAreBrokenOrAnothers) {
  write_output(2);
  edit_config("kv_head_num", "2");
  EXPECT_HOLDS("kv_stats.safetensors: statistics of 3 layers of 4 kv heads x 16, but config.ini",
               fault());
  edit_config("kv_head_num", "4");
  put(folder_.path(), {{kStatisticsFileName, "broken"}});
  EXPECT_HOLDS("kv_stats.safetensors: has 6 bytes, too short", fault());
}

// Beside summary.json nothing is guessed.
TEST_F(VerifyStatisticsTest, TakesTheMethodThatTheSummaryNames) {
  write_output(2, kLatest, ScaleMethod::kSymmetric);
  EXPECT_TRUE(verify().good());
  put(folder_.path(), {{kSummaryFileName, R"({"method": "symmetric"})"}});
  EXPECT_TRUE(verify().good());
  put(folder_.path(), {{kSummaryFileName, R"({"method": "asymmetric"})"}});
  EXPECT_EQ(
      fault(),
      "summary.json: names the method asymmetric, but the scale files are symmetric; they are "
      "of different runs: export again\n");
  put(folder_.path(), {{scale_file_name(1, 0), std::string(16, '?')}});
  const VerifyReport report = verify();
  EXPECT_GE(report.faults.size(), 6u);
  EXPECT_HOLDS("not what kv_stats.safetensors gives for 2 serving ranks", report.faults.back());
}

TEST_F(VerifyStatisticsTest, FindsAMethodThatIsNotKnown) {
  write_output(2);
  put(folder_.path(), {{kSummaryFileName, R"({"method": "percentile:of=99"})"}});
  EXPECT_EQ(
      fault(),
      concat("summary.json: ", message_of([] { ScaleMethod::parse("percentile:of=99"); }), "\n"));
}

TEST_F(VerifyStatisticsTest, TriesAllMethodsWithoutASummary) {
  for (const ScaleMethod& method : {ScaleMethod::kAsymmetric, ScaleMethod::kSymmetric}) {
    write_output(2, kLatest, method);
    const VerifyReport report = verify();
    EXPECT_TRUE(report.good());
    EXPECT_FALSE(notes(report, "summary.json"));
  }
}

TEST_F(VerifyStatisticsTest, NotesASummaryThatIsNotReadableAndTriesAllMethods) {
  const std::filesystem::path loop = folder_.path() / kSummaryFileName;
  std::filesystem::create_symlink(loop.filename(), loop);
  write_output(2);
  EXPECT_TRUE(verify().good());
  EXPECT_TRUE(notes(verify(), "summary.json: is not readable"));
  std::filesystem::remove(loop);
  for (const char* summary : {"", "broken", "[]", "{}", R"({"method": 4})"}) {
    for (const ScaleMethod& method : {ScaleMethod::kAsymmetric, ScaleMethod::kSymmetric}) {
      write_output(2, kLatest, method);
      put(folder_.path(), {{kSummaryFileName, summary}});
      const VerifyReport report = verify();
      EXPECT_TRUE(report.good()) << summary;
      EXPECT_TRUE(notes(report, "summary.json: is not readable")) << summary;
    }
  }
}

}  // namespace
}  // namespace kvcalib
