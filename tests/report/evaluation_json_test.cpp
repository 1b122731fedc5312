// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/evaluation_json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/report/evaluation_fixture.h"

namespace kvcalib {
namespace {

using nlohmann::json;

json parsed(const Evaluation& evaluation) { return json::parse(evaluation_json(evaluation)); }

TEST(EvaluationJson, HoldsStreamsAsScriptsReadThem) {
  const Evaluation evaluation = whole_evaluation();
  const json all = parsed(evaluation);
  ASSERT_EQ(all["streams"].size(), 2U);
  const json& stream = all["streams"][1];
  const StreamMeasures& measures = evaluation.measured.text->streams[1];
  EXPECT_EQ(stream["name"], "int8");
  EXPECT_EQ(stream["ppl"], measures.perplexity.value);
  EXPECT_EQ(stream["ppl_ratio"], measures.ratio.value);
  EXPECT_EQ(stream["kld"]["mean"], 0.03125);
  EXPECT_EQ(stream["kld"]["mean_error"], measures.divergence.error);
  EXPECT_EQ(stream["kld"]["median"], measures.divergence_at[5]);
  EXPECT_EQ(stream["kld"]["p99"], measures.divergence_at[2]);
  EXPECT_EQ(stream["kld"]["p99_9"], measures.divergence_at[1]);
  EXPECT_EQ(stream["kld"]["max"], measures.divergence_at[0]);
  EXPECT_EQ(stream["kld"]["p0_1"], measures.divergence_at[9]);
  EXPECT_EQ(stream["delta_p"]["p25"], measures.change_at[7]);
  EXPECT_EQ(stream["delta_p"]["min"], measures.change_at[12]);
  EXPECT_EQ(stream["same_top_p"], 93.75);
  EXPECT_EQ(stream["clipped"], 100 * evaluation.measured.profiles[0].clipped);
  EXPECT_EQ(stream["by_position"].size(), 3U);
  EXPECT_EQ(all["streams"][0]["kld"]["mean"], 0.0);
  EXPECT_EQ(all["streams"][0]["ppl_ratio"], 1.0);
  EXPECT_TRUE(all["streams"][0]["clipped"].is_null());
}

TEST(EvaluationJson, HoldsTasksAsScriptsReadThem) {
  const json all = parsed(whole_evaluation());
  ASSERT_EQ(all["tasks"].size(), 2U);
  const json& task = all["tasks"][0];
  EXPECT_EQ(task["task"], "RTE");
  EXPECT_EQ(task["dataset"], "SuperGLUE");
  EXPECT_EQ(task["metric"], "accuracy");
  EXPECT_EQ(task["n"], 372);
  EXPECT_EQ(task["baseline"], 50.0);
  EXPECT_EQ(task["follows"], "OpenCompass base_medium 2023-07");
  const json& stream = task["streams"][1];
  EXPECT_EQ(stream["name"], "int8");
  EXPECT_NEAR(stream["score"].get<double>(), 100.0 * 302 / 372, 1e-12);
  EXPECT_NEAR(stream["diff"].get<double>(), -100.0 * 18 / 372, 1e-12);
  EXPECT_GT(stream["error"].get<double>(), 1);
  EXPECT_EQ(stream["lost"], 20);
  EXPECT_EQ(stream["gained"], 2);
  EXPECT_LT(stream["p"].get<double>(), 0.001);
  EXPECT_EQ(stream["p_holm"].get<double>(), 2 * stream["p"].get<double>());
  EXPECT_EQ(all["task_totals"][0]["below_0_05"], 1);
  EXPECT_EQ(all["recall"][0]["n"], 33);
}

TEST(EvaluationJson, HoldsTheOtherParts) {
  const Evaluation evaluation = whole_evaluation();
  const json all = parsed(evaluation);
  EXPECT_EQ(all["control_is_zero"], true);
  EXPECT_EQ(all["text"]["tokens"], 256);
  EXPECT_EQ(all["copy"][0]["cannot_copy"], false);
  EXPECT_EQ(all["copy"][1]["cannot_copy"], true);
  EXPECT_EQ(all["copy"][1]["streams"][1]["change"], 0.25);
  EXPECT_EQ(all["layers"][0]["layers"].size(), 6U);
  EXPECT_EQ(all["layers"][0]["layers"][4]["ranks"][0]["k"]["unused"], 75.0);
  EXPECT_EQ(all["layers"][0]["findings"].size(), 1U);
  EXPECT_EQ(all["verdict"], json(evaluation.verdict));
  EXPECT_EQ(all["notes"], json(evaluation.notes));
}

TEST(EvaluationJson, HoldsNoPartThatWasNotAskedFor) {
  Evaluation evaluation;
  evaluation.measured.streams = two_streams();
  const json all = parsed(evaluation);
  EXPECT_TRUE(all["control_is_zero"].is_null());
  EXPECT_TRUE(all["text"].is_null());
  EXPECT_TRUE(all["streams"][1]["ppl"].is_null());
  EXPECT_TRUE(all["streams"][1]["kld"]["max"].is_null());
  for (const char* part : {"copy", "recall", "tasks", "task_totals", "layers"})
    EXPECT_EQ(all[part], json::array()) << part;
}

TEST(EvaluationJson, WritesUnknownAndInfiniteAsNull) {
  Evaluation evaluation;
  evaluation.measured.streams = two_streams();
  evaluation.measured.text = measured_text(0.25F, 0, 0.03125F, 1);
  evaluation.measured.text->streams[1].ratio.value = HUGE_VAL;
  const json stream = parsed(evaluation)["streams"][1];
  EXPECT_EQ(stream["kld"]["mean"], 0.03125);
  EXPECT_TRUE(stream["kld"]["mean_error"].is_null());
  EXPECT_TRUE(stream["ppl_ratio"].is_null());
}

TEST(EvaluationJson, NamesThatAreNotUtf8AreEscaped) {
  Evaluation evaluation;
  evaluation.model = "\xff";
  evaluation.measured.streams = two_streams();
  EXPECT_EQ(parsed(evaluation)["model"], "\\xff");
}

}  // namespace
}  // namespace kvcalib
