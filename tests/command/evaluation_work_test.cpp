// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/evaluation_work.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/data/data_fixture.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

using nlohmann::json;

constexpr int64_t kVocab = 500;

class EvaluationWorkTest : public testing::Test {
 protected:
  EvaluationWork read() const {
    ModelConfig config;
    config.vocab = kVocab;
    return read_work(options_, config);
  }

  // A task of items whose two texts are `shared` tokens and a last one.
  void add_task(const std::string& file, const std::string& task, int64_t items, int64_t shared) {
    std::string text = json{{"format", "kvcalib-task"}, {"version", 1},         {"task", task},
                            {"dataset", "SuperGLUE"},   {"metric", "accuracy"}, {"rule", "ppl"}}
                           .dump() +
                       "\n";
    for (int64_t item = 0; item < items; ++item) {
      std::vector<int64_t> ids;
      for (int64_t token = 0; token < shared; ++token) ids.push_back((7 * item + token) % kVocab);
      std::vector<std::vector<int64_t>> texts = {ids, ids};
      texts[0].push_back(3);
      texts[1].push_back(4);
      text += json{{"id", concat("item ", item)}, {"ids", texts}, {"gold", item % 2}}.dump() + "\n";
    }
    options_.tasks.push_back(fixture::write(folder_.path() / file, text).string());
  }
  // Two windows of 200 ids, 300 and down.
  void add_ids() {
    std::string bytes;
    for (int32_t i = 0; i < 400; ++i) {
      const auto id = static_cast<int32_t>((300 - i + kVocab) % kVocab);
      bytes.append(reinterpret_cast<const char*>(&id), sizeof(id));
    }
    options_.data.push_back(
        fixture::write(folder_.path() / "ids.npy", fixture::npy("<i4", "2, 200", bytes)).string());
  }

  const fixture::TemporaryFolder folder_;
  EvaluateOptions options_ = [this] {
    EvaluateOptions options;
    options.weights = folder_.path();
    options.length = 200;
    return options;
  }();
};

void expect_well_formed(const EvaluationWork& work) {
  for (const TokenTree& tree : work.trees) {
    ASSERT_FALSE(tree.nodes.empty());
    ASSERT_EQ(tree.scored.size(), tree.ids.size());
    int64_t next = 0;
    for (size_t i = 0; i < tree.nodes.size(); ++i) {
      EXPECT_EQ(tree.nodes[i].first, next);
      EXPECT_GE(tree.nodes[i].count, 1);
      EXPECT_LT(tree.nodes[i].parent, static_cast<int64_t>(i));
      if (tree.nodes[i].parent < 0) {
        EXPECT_EQ(tree.scored[static_cast<size_t>(next)], 0);
      }
      next += tree.nodes[i].count;
    }
    EXPECT_EQ(next, tree.tokens());
  }
}

TEST_F(EvaluationWorkTest, HoldsTheTextBehindItsOwnBeginningAsControl) {
  add_ids();
  const EvaluationWork work = read();
  expect_well_formed(work);
  ASSERT_EQ(work.trees.size(), 3U);
  EXPECT_EQ(work.text.first, 1U);
  EXPECT_EQ(work.text.last, 3U);
  EXPECT_EQ(work.length, 200);
  const std::vector<int32_t>&control = work.trees[0].ids, &text = work.trees[1].ids;
  EXPECT_EQ(control, std::vector<int32_t>(text.begin(), text.begin() + 128));
  EXPECT_EQ(work.trees[0].nodes.size(), 1U);
  EXPECT_EQ(std::count(work.trees[0].scored.begin(), work.trees[0].scored.end(), 1), 127);
  ASSERT_EQ(work.files.size(), 1U);
  EXPECT_EQ(work.files[0].path.filename(), "ids.npy");
  EXPECT_EQ(work.read.size(), 1U);
}

TEST_F(EvaluationWorkTest, TakesTheControlDownTheFirstTree) {
  add_task("short.jsonl", "short", 2, 5);
  const EvaluationWork work = read();
  expect_well_formed(work);
  EXPECT_GT(work.trees[1].nodes.size(), 1U);
  EXPECT_EQ(work.trees[0].ids, (std::vector<int32_t>{0, 1, 2, 3, 4, 3}));
  EXPECT_EQ(work.length, 6);
}

TEST_F(EvaluationWorkTest, CutsTheControlWithinANode) {
  add_task("long.jsonl", "long", 1, 150);
  const EvaluationWork work = read();
  ASSERT_EQ(work.trees[0].ids.size(), 128U);
  EXPECT_EQ(work.trees[0].ids.back(), 127);
}

TEST_F(EvaluationWorkTest, KnowsWhatItsTreesAre) {
  options_.copy = true;
  options_.limit = 1;
  add_ids();
  add_task("a.jsonl", "a", 3, 5);
  add_task("b.jsonl", "b", 2, 7);
  const EvaluationWork work = read();
  expect_well_formed(work);
  size_t next = kControlTrees;
  const auto follows = [&next](const TreeRange& range) {
    EXPECT_EQ(range.first, next);
    EXPECT_LT(range.first, range.last);
    next = range.last;
  };
  follows(work.text);
  ASSERT_EQ(work.copies.size(), 2U);
  EXPECT_EQ(work.copies[0].distance, 16);
  EXPECT_EQ(work.copies[1].distance, 64);
  for (const CopyTrees& copies : work.copies) follows(copies.trees);
  follows(work.recall.trees);
  ASSERT_EQ(work.tasks.size(), 2U);
  for (const TaskTrees& task : work.tasks) {
    follows(task.items.trees);
    EXPECT_EQ(task.items.items.size(), 1U);  // the limit
    EXPECT_TRUE(task.file.items.empty());
  }
  EXPECT_EQ(work.tasks[1].items.items[0].at(0).id, "item 0");
  EXPECT_EQ(next, work.trees.size());
  EXPECT_EQ(work.files.size(), 3U);
}

TEST_F(EvaluationWorkTest, IsTheSameOfOneSeedAndOtherOfAnother) {
  options_.copy = true;
  const EvaluationWork first = read(), again = read();
  EXPECT_EQ(first.trees[0].ids, again.trees[0].ids);
  EXPECT_EQ(first.trees.back().ids, again.trees.back().ids);
  options_.seed = 1;
  EXPECT_NE(first.trees[1].ids, read().trees[1].ids);
}

TEST_F(EvaluationWorkTest, NotesTheItemsThatWereCut) {
  options_.length = 100;
  add_task("long.jsonl", "long", 2, 150);
  const EvaluationWork work = read();
  EXPECT_EQ(work.length, 100);
  for (const std::vector<ScoredItem>& tree : work.tasks[0].items.items)
    for (const ScoredItem& item : tree) EXPECT_TRUE(item.cut);
}

TEST_F(EvaluationWorkTest, RefusesTwoFilesOfATask) {
  add_task("a.jsonl", "RTE", 1, 5);
  add_task("b.jsonl", "RTE", 1, 6);
  const std::string message = message_of([&] { read(); });
  EXPECT_HOLDS("two files are of the task RTE, the second " + options_.tasks[1], message);
}

TEST_F(EvaluationWorkTest, RefusesAGateOfATaskThatThereIsNot) {
  add_task("a.jsonl", "RTE", 1, 5);
  options_.gates.most_loss = {{"RTE", 1}, {"COPA", 1}};
  EXPECT_THROW(read(), UsageError);
  EXPECT_HOLDS("--max-loss COPA=...: there is no task of that name", message_of([&] { read(); }));
  options_.gates.most_loss.pop_back();
  EXPECT_NO_THROW(read());
}

TEST_F(EvaluationWorkTest, RefusesALengthInWhichNothingCanBeCopied) {
  options_.copy = true;
  options_.length = 20;
  EXPECT_HOLDS("--copy: 20 tokens are too few", message_of([&] { read(); }));
}

TEST_F(EvaluationWorkTest, RefusesIdsThatTheModelDoesNotHave) {
  std::string bytes(400, '\0');
  bytes[1] = '\x02';  // 512
  options_.data = {
      fixture::write(folder_.path() / "ids.npy", fixture::npy("<i4", "1, 100", bytes)).string()};
  EXPECT_HOLDS("ids.npy", message_of([&] { read(); }));
}

// A report file of rows with these files, whose tasks are named as they are.
std::string report_of(const std::vector<std::string>& names) {
  json rows = json::array();
  for (const std::string& name : names)
    rows.push_back({{"task", name}, {"dataset", "own"}, {"file", name + ".jsonl"}});
  return json{{"format", "kvcalib-report"}, {"version", 1}, {"rows", rows}}.dump(1);
}

TEST_F(EvaluationWorkTest, ListsTheRowsOfAReportInItsOrder) {
  add_task("b.jsonl", "b", 1, 5);
  add_task("a.jsonl", "a", 1, 5);
  add_task("other.jsonl", "other", 1, 5);
  const std::string list =
      fixture::write(folder_.path() / "list.json", report_of({"x", "a", "y", "b"})).string();
  options_.tasks = {options_.tasks.back(), list};
  options_.data_root = folder_.path();
  const EvaluationWork work = read();
  std::vector<std::string> tasks;
  for (const TaskTrees& task : work.tasks) tasks.push_back(task.file.task);
  EXPECT_EQ(tasks, (std::vector<std::string>{"other", "a", "b"}));
  for (size_t i = 0; i < work.tasks.size(); ++i) EXPECT_EQ(work.tasks[i].place, i);
  ASSERT_TRUE(work.report);
  EXPECT_EQ(work.report->first, 1U);
  EXPECT_EQ(work.report->name, "list.json");
  EXPECT_EQ(work.report->present(), 2U);
  std::vector<bool> missing;
  for (const ReportedRow& row : work.report->rows) missing.push_back(row.is_missing);
  EXPECT_EQ(missing, (std::vector<bool>{true, false, true, false}));
  EXPECT_EQ(work.files.front().path.filename(), "list.json");
}

TEST_F(EvaluationWorkTest, RefusesAReportOfOtherTasksOrNone) {
  add_task("a.jsonl", "b", 1, 5);
  options_.data_root = folder_.path();
  const std::filesystem::path list = folder_.path() / "list.json";
  options_.tasks = {fixture::write(list, report_of({"a"})).string()};
  EXPECT_HOLDS("a.jsonl: is of the task 'b', but list.json has it as the file of 'a'",
               message_of([&] { read(); }));
  fixture::write(list, report_of({"x", "y"}));
  EXPECT_HOLDS("holds none of the 2 task files", message_of([&] { read(); }));
}

}  // namespace
}  // namespace kvcalib
