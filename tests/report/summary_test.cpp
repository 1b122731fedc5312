// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/summary.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "calibrate/delivery/program_version.h"
#include "tests/delivery/delivery_fixture.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

using namespace fixture;

Summary summary_of(const ModelConfig& model, const ScaleOptions& options = {},
                   const std::optional<RunCost>& cost = std::nullopt) {
  return summarise(delivery_of(turbomind_weights(model), options, cost));
}

RunCost cost_of(int64_t ranks) {
  RunCost cost;
  cost.devices = "some devices";
  cost.ranks = ranks;
  cost.interconnect.library = "some library";
  cost.layer_seconds = 2;
  return cost;
}

TEST(Summary, TellsMachinesWhatWasMadeAndHow) {
  ScaleOptions options;
  options.method = ScaleMethod::kSymmetric;
  const nlohmann::ordered_json json = to_json(summary_of(small_model(), options));
  EXPECT_EQ(json.at("version"), program_version());
  EXPECT_EQ(json.at("runtime"), "v0.3.0");
  EXPECT_EQ(json.at("serving_tp"), 2);
  EXPECT_EQ(ScaleMethod::parse(json.at("method").get<std::string>()), ScaleMethod::kSymmetric);
  EXPECT_EQ(json.at("place"), "/results");
  EXPECT_EQ(json.at("scales").size(), static_cast<size_t>(small_model().layers * 2));
  EXPECT_FALSE(json.contains("cost"));
}

TEST(Summary, ListsTheFilesInTheirOrderItselfTheLast) {
  const Delivery before = delivery_of(turbomind_weights(small_model()));
  const Summary summary = summarise(before);
  const std::vector<DeliveredFile>& files = summary.delivery.files;
  ASSERT_EQ(files.size(), before.files.size() + 1);
  EXPECT_EQ(files.back().name, kSummaryFileName);
  const auto told = to_json(summary).at("files").get<std::vector<std::string>>();
  ASSERT_EQ(told.size(), files.size());
  for (size_t i = 0; i < told.size(); ++i) EXPECT_EQ(told[i], files[i].name);
  for (size_t i = 0; i < before.files.size(); ++i) EXPECT_EQ(files[i].name, before.files[i].name);
}

TEST(Summary, IsDeliveredAsItIsTold) {
  const Summary summary = summary_of(small_model(), {}, cost_of(2));
  const std::string text = bytes_of(summary.delivery.files.back());
  EXPECT_EQ(nlohmann::ordered_json::parse(text), to_json(summary));
  EXPECT_EQ(text.substr(0, 4), "{\n  ");
  EXPECT_EQ(text.substr(text.size() - 3), "\n}\n");
}

TEST(Summary, TellsWhatConnectsTheRanksOnlyWhereThereAreSeveral) {
  for (const int64_t ranks : {1, 2}) {
    const Summary summary = summary_of(small_model(), {}, cost_of(ranks));
    EXPECT_EQ(to_json(summary).at("cost").contains("interconnect"), ranks > 1);
    EXPECT_EQ(format_summary(summary).find("some library") != std::string::npos, ranks > 1);
  }
}

TEST(Summary, TellsAPersonWhatStandsOutAndWhereTheFilesAre) {
  const Summary summary = summary_of(small_model(), {}, cost_of(1));
  const std::string text = format_summary(summary);
  EXPECT_HOLDS(
      "6 scale files (asymmetric, TurboMind v0.3.0, 2 ranks), config.ini and statistics "
      "in /results\n",
      text);
  EXPECT_HOLDS("4 windows x 64 tokens on some devices: layers 2.0 s (128 tokens/s)", text);
  for (const std::string& sentence : summary.outlying)
    EXPECT_HOLDS("stands out: " + sentence, text);
}

TEST(Summary, OfALargeModelShowsTheWidestKAndSaysSo) {
  ModelConfig model = small_model();
  model.layers = 40;
  const Summary summary = summary_of(model);
  const std::string text = format_summary(summary);
  EXPECT_HOLDS("(the 16 of 80 with the widest K; kvcalib inspect shows all)", text);
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 40);
  EXPECT_EQ(to_json(summary).at("scales").size(), 80U);
}

}  // namespace
}  // namespace kvcalib
