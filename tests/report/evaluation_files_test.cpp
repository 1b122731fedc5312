// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/evaluation_files.h"

#include <gtest/gtest.h>

#include "calibrate/report/evaluation_json.h"
#include "calibrate/report/evaluation_report.h"
#include "calibrate/report/task_json.h"
#include "tests/report/evaluation_fixture.h"

namespace kvcalib {
namespace {

struct StringSink final : ByteSink {
  void append(std::span<const std::byte> added) override {
    bytes.append(reinterpret_cast<const char*>(added.data()), added.size());
  }
  std::string bytes;
};

std::string bytes_of(const DeliveredFile& file) {
  StringSink sink;
  file.content(sink);
  return sink.bytes;
}

TEST(EvaluationFiles, AreTheReportInBothFormsAndTheItems) {
  const Evaluation evaluation = whole_evaluation();
  const std::vector<ScoredTask> tasks = two_tasks();
  const std::vector<DeliveredFile> files = evaluation_files(evaluation, tasks);
  ASSERT_EQ(files.size(), 3U);
  EXPECT_EQ(files[0].name, "evaluation.json");
  EXPECT_EQ(bytes_of(files[0]), evaluation_json(evaluation));
  EXPECT_EQ(files[1].name, "evaluation.md");
  EXPECT_EQ(bytes_of(files[1]), evaluation_markdown(evaluation));
  EXPECT_EQ(files[2].name, "items.jsonl");
  EXPECT_EQ(bytes_of(files[2]), items_jsonl(tasks, evaluation.measured.streams));
}

TEST(EvaluationFiles, HaveNoItemsWithoutTasks) {
  EXPECT_EQ(evaluation_files(whole_evaluation(), {}).size(), 2U);
}

TEST(EvaluationFiles, AreNamedAsTheOutputDirectoryKnowsThem) {
  const OutputNames names = evaluation_file_names();
  for (const DeliveredFile& file : evaluation_files(whole_evaluation(), two_tasks())) {
    EXPECT_TRUE(names.is_ours(file.name));
    EXPECT_TRUE(names.goes_with_the_set(file.name));  // items of an earlier run with tasks too
    EXPECT_TRUE(names.tells_of_a_set(file.name));
  }
  for (const char* other :
       {"", "evaluation.json.backup", "evaluation", "items.json", "summary.json", "Items.jsonl"}) {
    EXPECT_FALSE(names.is_ours(other)) << other;
    EXPECT_FALSE(names.goes_with_the_set(other)) << other;
  }
}

}  // namespace
}  // namespace kvcalib
