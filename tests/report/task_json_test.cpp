// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/task_json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/report/evaluation_fixture.h"

namespace kvcalib {
namespace {

using nlohmann::json;

TEST(ItemsJsonl, HoldsALineForEachItem) {
  std::vector<ScoredTask> tasks = two_tasks();
  tasks[0].rule = ScoringRule::kPerPredicted;
  std::istringstream lines(items_jsonl(tasks, two_streams()));
  std::vector<json> items;
  for (std::string line; std::getline(lines, line);) items.push_back(json::parse(line));
  ASSERT_EQ(items.size(), 472U);
  const json& first = items.front();
  EXPECT_EQ(first["task"], "RTE");
  EXPECT_EQ(first["id"], "item-0");
  EXPECT_EQ(first["gold"], 0);
  EXPECT_EQ(first["values"]["int8"], json(std::vector{20.0 / 9, 21.0 / 9}));
  EXPECT_EQ(first["choice"], json({{"fp16", 0}, {"int8", 0}}));
  EXPECT_EQ(items[350]["choice"], json({{"fp16", 0}, {"int8", 1}}));  // lost
  EXPECT_EQ(items[372]["task"], "MultiRC");
  EXPECT_EQ(items[372]["values"]["fp16"], json(std::vector{2.0, 2.1}));
}

TEST(ItemsJsonl, SurvivesWhatIsNoNumberAndNoText) {
  ScoredTask task = scored_task("T", 1, 0, 0, 0);
  task.items[0].id = "line\nend \xff \"";
  task.items[0].sums[1] = {std::nan(""), std::nan("")};
  const std::string text = items_jsonl(std::vector{task}, two_streams());
  EXPECT_EQ(text,
            "{\"task\":\"T\",\"id\":\"line\\nend \\\\xff \\\"\",\"gold\":0,"
            "\"values\":{\"fp16\":[2.0,2.1],\"int8\":[null,null]},"
            "\"choice\":{\"fp16\":0,\"int8\":-1}}\n");
}

TEST(ItemsJsonl, HoldsWhatWasGenerated) {
  GeneratedAnswer first{"It is\n4.", "It is", true, {5, 6, 7}, false};
  const ScoredTask task = generated_task("T", {{first, generated("\xff", false)}});
  EXPECT_EQ(items_jsonl(std::vector{task}, two_streams()),
            "{\"task\":\"T\",\"id\":\"item-0\",\"answers\":{"
            "\"fp16\":{\"text\":\"It is\\n4.\",\"extracted\":\"It is\",\"right\":true,\"tokens\":3,"
            "\"ended\":false},"
            "\"int8\":{\"text\":\"\\\\xff\",\"extracted\":\"\\\\xff\",\"right\":false,\"tokens\":2,"
            "\"ended\":true}}}\n");
}

TEST(TasksJson, HoldsTheAgreementOfGeneratedAnswersAlone) {
  const GeneratedAnswer right = generated("four", true), wrong = generated("five", false);
  const std::vector<ScoredTask> tasks = {generated_task("A", {{right, wrong}, {right, right}}),
                                         scored_task("B", 2, 2, 0, 0)};
  const json all = json::parse(tasks_json(score_tasks(tasks), two_streams()).dump());
  const json& stream = all[0]["streams"][1];
  EXPECT_EQ(stream["lost"], 1);
  EXPECT_EQ(stream["score"], 50.0);
  EXPECT_TRUE(stream["margin"].is_null());
  EXPECT_EQ(stream["labels"], json::array());
  EXPECT_TRUE(all[0]["baseline"].is_null());
  EXPECT_EQ(stream["equal"], 50.0);
  EXPECT_EQ(stream["parts_at"], 2.0);
  EXPECT_TRUE(all[0]["streams"][0]["parts_at"].is_null());
  EXPECT_FALSE(all[1]["streams"][1].contains("equal"));
}

TEST(ReportJson, HoldsEveryRowInOrder) {
  const json report = json::parse(report_json(partly_reported().measured).dump());
  EXPECT_EQ(report["file"], "report.json");
  ASSERT_EQ(report["rows"].size(), 5U);
  EXPECT_EQ(report["rows"][0], json({{"task", "BoolQ"},
                                     {"dataset", "SuperGLUE"},
                                     {"follows", "a config"},
                                     {"file", "BoolQ.jsonl"},
                                     {"missing", true}}));
  EXPECT_EQ(report["rows"][3]["task"], "MultiRC");
  EXPECT_EQ(report["rows"][3]["missing"], false);
  EXPECT_EQ(report_json(Measured()), nullptr);
}

TEST(ReportJson, HoldsTheMeanOfItsOwnRows) {
  const Measured measured = partly_reported().measured;
  const json means = json::parse(report_json(measured)["mean_differences"].dump());
  ASSERT_EQ(means.size(), 1U);
  EXPECT_EQ(means[0]["name"], "int8");
  EXPECT_EQ(means[0]["rows"], 2);
  const Estimate &first = measured.tasks[1].streams[1].difference,
                 &second = measured.tasks[2].streams[1].difference;
  EXPECT_DOUBLE_EQ(means[0]["diff"], (first.value + second.value) / 2);
  EXPECT_DOUBLE_EQ(means[0]["error"], std::hypot(first.error, second.error) / 2);
}

}  // namespace
}  // namespace kvcalib
