// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/evaluation_streams.h"

#include <cmath>

#include "calibrate/runtimes/turbomind/scale_files.h"
#include "sharding/formats/turbomind_directory.h"
#include "tests/runtimes/verify_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;
using Kind = CacheFormat::Kind;

// Weights of 3 layers and 4 kv heads x 16, cut for two ranks, and scales of them.
class EvaluationStreamsTest : public testing::Test {
 protected:
  EvaluationStreamsTest() { write_weights(weights(), model(2)); }

  fs::path weights() const { return folder_.path() / "weights"; }
  // A folder of scale files for so many ranks.
  fs::path scales(const fs::path& name, int64_t ranks, const char* release = "0.3.0",
                  const ScaleMethod& method = ScaleMethod::kAsymmetric) const {
    const fs::path directory = folder_.path() / name;
    fs::create_directories(directory);
    for (const OutputFile& file : scale_files(compute_scales(statistics(), ranks, method), ranks,
                                              find_turbomind_release(release)))
      put(directory, {{file.name, file.bytes}});
    return directory;
  }

  TriedCaches tried(EvaluateOptions options) const {
    options.weights = weights();
    return tried_caches(options, TurboMindDirectory::open(weights()), *options.runtime.open());
  }
  std::string refusal(const EvaluateOptions& options) const {
    return message_of([&] { tried(options); });
  }

  const TemporaryFolder folder_;
};

EvaluateOptions of(std::vector<std::string> scales, std::vector<std::string> formats = {}) {
  EvaluateOptions options;
  options.scales = std::move(scales);
  options.formats = std::move(formats);
  return options;
}

std::vector<std::string> names_of(const TriedCaches& tried) {
  std::vector<std::string> names;
  for (const TriedCache& cache : tried.caches) names.push_back(cache.info.name);
  return names;
}

using Names = std::vector<std::string>;

TEST_F(EvaluationStreamsTest, AreTheCacheIn16BitsAndTheScalesBesideTheWeights) {
  EXPECT_HOLDS(weights().string(), refusal({}));
  scales("weights", 2);
  const TriedCaches found = tried({});
  EXPECT_EQ(names_of(found), (Names{"fp16", "int8"}));
  EXPECT_EQ(found.caches[0].format.kind, Kind::kSixteenBits);
  EXPECT_EQ(found.files.size(), 6U);
}

TEST_F(EvaluationStreamsTest, HoldTheScalesOfTheFilesByChannelAndByRank) {
  const std::string directory = scales("own", 2);
  const TriedCache cache = tried(of({directory})).caches.at(1);
  const std::vector<KvScale> expected = compute_scales(statistics(), 2, ScaleMethod::kAsymmetric);
  EXPECT_EQ(cache.scales, expected);  // what findings of exchanged scales are made of
  EXPECT_EQ(cache.ranks, 2);
  EXPECT_EQ(cache.format.kind, Kind::kInt8);
  EXPECT_FALSE(cache.info.is_compared_only);
  ASSERT_EQ(cache.format.keys.scale.size(), 3U * 4 * 16);
  for (size_t i = 0; i < 3 * 4 * 16; ++i) {
    const KvScale& own = expected[i / 32];
    EXPECT_EQ(cache.format.keys.scale[i], own.k_scale);
    EXPECT_EQ(cache.format.keys.zero[i], own.k_zero);
    EXPECT_EQ(cache.format.values.scale[i], own.v_scale);
    EXPECT_EQ(cache.format.values.zero[i], own.v_zero);
  }
}

TEST_F(EvaluationStreamsTest, AreNamedByTheirPlace) {
  const std::string a = scales("x/a", 2), b = scales("x/b", 1), other = scales("y/a", 4);
  const TriedCaches found = tried(of({a, b + "/", other}));
  EXPECT_EQ(names_of(found), (Names{"fp16", "a", "b", other}));
  EXPECT_EQ(found.caches[3].ranks, 4);
  EXPECT_HOLDS(a + ": two streams would be called so", refusal(of({a, b, a, a})));
}

TEST_F(EvaluationStreamsTest, OfOtherRanksThanTheWeightsAreToldOf) {
  const std::string one = scales("one", 1), two = scales("two", 2), four = scales("four", 4);
  EXPECT_TRUE(tried(of({two})).notes.empty());
  const std::vector<std::string> notes = tried(of({one, two, four})).notes;
  ASSERT_EQ(notes.size(), 2U);
  EXPECT_HOLDS(one + " are for 1 rank, the weights are cut for 2", notes[0]);
  EXPECT_HOLDS(four + " are for 4 ranks", notes[1]);
  EXPECT_HOLDS("--scales nowhere: is no directory", refusal(of({"nowhere"})));
}

TEST_F(EvaluationStreamsTest, AreNotNamedAsFormatsAre) {
  const std::string first = scales("fp16", 2), second = scales("per-token", 2);
  EXPECT_EQ(names_of(tried(of({first, second}, {"per-token"}))),
            (Names{"fp16", first, second, "per-token"}));
}

TEST_F(EvaluationStreamsTest, OfOtherFormatsAreComparedOnly) {
  const TriedCaches found = tried(of({}, {"per-token"}));
  EXPECT_EQ(names_of(found), (Names{"fp16", "per-token"}));
  EXPECT_TRUE(found.caches[1].info.is_compared_only);
  EXPECT_EQ(found.caches[1].format.kind, Kind::kInt8OfToken);
}

TEST_F(EvaluationStreamsTest, RefuseFormatsThatThereAreNotOrThatNeedMore) {
  EXPECT_HOLDS(
      "--formats fp9: no such format; there are per-head, per-channel, per-token and fp8; did you "
      "mean fp8?",
      refusal(of({}, {"fp9"})));
  for (const char* format : {"fp8", "per-head", "per-channel"})
    EXPECT_HOLDS("is made of statistics; give --stats FILE", refusal(of({}, {format})));
  EXPECT_HOLDS("--formats per-token: is named twice", refusal(of({}, {"per-token", "per-token"})));
}

TEST_F(EvaluationStreamsTest, RefuseScalesThatTheRuntimeReadsAsSomethingElse) {
  const std::string two = scales("two", 2, "0.0.2", ScaleMethod::kSymmetric);
  EXPECT_HOLDS("its scale files hold 2 values, TurboMind v0.3.0 reads 4", refusal(of({two})));
  EvaluateOptions options = of({two});
  options.runtime.release = "0.0.2";
  EXPECT_EQ(tried(options).caches.at(1).format.keys.zero, std::vector<float>(3 * 4 * 16));
}

TEST_F(EvaluationStreamsTest, RefuseScalesOfAnotherModel) {
  const fs::path directory = scales("own", 1);
  fs::remove(directory / scale_file_name(2, 0));
  EXPECT_HOLDS("own: has scales of 2 layers, the model 3", refusal(of({directory})));
  for (int64_t layer = 0; layer < 3; ++layer)
    for (int64_t rank = 0; rank < 3; ++rank)
      put(directory, {{scale_file_name(layer, rank),
                       scale_file_bytes({1, 0, 1, 0}, find_turbomind_release("0.3.0"))}});
  EXPECT_HOLDS("own: has scales of 3 ranks, which the 4 kv heads", refusal(of({directory})));
}

TEST_F(EvaluationStreamsTest, RefuseStepsAndZerosThatAreNone) {
  const fs::path directory = scales("own", 2);
  for (const KvScale& wrong : {KvScale{0, 0, 1, 0}, KvScale{1, 0, -1, 0}, KvScale{NAN, 0, 1, 0},
                               KvScale{1, INFINITY, 1, 0}, KvScale{1, 0, 1, NAN}}) {
    put(directory,
        {{scale_file_name(1, 1), scale_file_bytes(wrong, find_turbomind_release("0.3.0"))}});
    EXPECT_HOLDS(scale_file_name(1, 1) + ": the step of ", refusal(of({directory})));
  }
}

}  // namespace
}  // namespace kvcalib
