// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/task_report.h"

#include <gtest/gtest.h>

#include "sharding/files/sha256.h"
#include "tests/data/data_fixture.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

using nlohmann::json;

json row(const std::string& task) {
  return {
      {"task", task}, {"dataset", "SuperGLUE"}, {"follows", "a config"}, {"file", task + ".jsonl"}};
}

json report(const std::vector<json>& rows) {
  return {{"format", "kvcalib-report"}, {"version", 1}, {"rows", rows}};
}

// `object` with `key` as `value`, or without it for null.
json with(json object, const std::string& key, const json& value) {
  object.erase(key);
  if (!value.is_null()) object[key] = value;
  return object;
}

class TaskReportTest : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) const {
    return fixture::write(folder_.path() / "list.json", text);
  }
  TaskReport read(const json& object) const { return read_task_report(write(object.dump(1))); }
  // What is said of a report of two rows, the second of which is this one.
  std::string message_of_row(const json& second) const {
    return message_of([&] { read(report({row("RTE"), second})); });
  }

  const fixture::TemporaryFolder folder_;
};

TEST_F(TaskReportTest, HoldsItsRowsInOrder) {
  const json given = report({row("RTE"), with(row("A"), "follows", nullptr)});
  const TaskReport found = read(given);
  ASSERT_EQ(found.rows.size(), 2U);
  EXPECT_EQ(found.rows[0].task, "RTE");
  EXPECT_EQ(found.rows[0].dataset, "SuperGLUE");
  EXPECT_EQ(found.rows[0].follows, "a config");
  EXPECT_EQ(found.rows[0].file, "RTE.jsonl");
  EXPECT_EQ(found.rows[1].follows, "");
  EXPECT_EQ(found.source.sha256, sha256_hex(given.dump(1)));
  EXPECT_EQ(found.source.path, folder_.path() / "list.json");
}

TEST_F(TaskReportTest, IsKnownByWhatItStates) {
  const auto is_report = [&](const std::string& text) { return is_task_report(write(text)); };
  EXPECT_TRUE(is_report(report({row("RTE")}).dump()));
  EXPECT_TRUE(is_report(report({row("RTE")}).dump(2)));
  EXPECT_TRUE(is_report("{\"rows\": [], \"format\" \r\n\t: \"kvcalib-report\""));  // damaged
  EXPECT_FALSE(is_report(""));
  EXPECT_FALSE(is_report("kvcalib-report"));
  EXPECT_FALSE(is_report("\"kvcalib-report\""));
  EXPECT_FALSE(is_report("{\"format\": \"kvcalib-task\", \"task\": \"kvcalib-report\"}\n"));
  const json item = {{"prompt", "\"format\": \"kvcalib-report\""}};
  EXPECT_FALSE(is_report(item.dump()));
}

TEST_F(TaskReportTest, RefusesWhatIsNotOfTheFormat) {
  const json whole = report({row("RTE")});
  const std::string name = (folder_.path() / "list.json").string();
  const auto refuses = [&](const json& object, const std::string& what) {
    const std::string message = message_of([&] { read(object); });
    EXPECT_EQ(message.find(name), 0U) << message;
    EXPECT_HOLDS(what, message);
  };
  refuses(with(whole, "version", 2), "version is 2, expected 1");
  refuses(with(whole, "version", "1"), "version");
  refuses(with(whole, "format", "kvcalib-task"), "\"format\": \"kvcalib-report\"");
  refuses(with(whole, "colour", 1), "'colour' is unknown; expected format, rows, version");
  refuses(with(whole, "rows", nullptr), "rows is missing");
  refuses(with(whole, "rows", json::array()), "rows is empty");
  refuses(with(whole, "rows", "RTE"), "expected a list of objects");
  refuses(with(whole, "rows", {"RTE"}), "expected a list of objects");
  refuses(json::array(), "is not a JSON object");
  EXPECT_HOLDS("list.json", message_of([&] { read_task_report(write("{\"format\": ")); }));
  EXPECT_HOLDS("has more than 1048576 bytes",
               message_of([&] { read_task_report(write(std::string((1 << 20) + 1, ' '))); }));
}

TEST_F(TaskReportTest, NamesRowAndKey) {
  EXPECT_HOLDS("list.json: rows, entry 2: the key 'n' is unknown; expected dataset, file, follows",
               message_of_row(with(row("A"), "n", 1)));
  for (const char* key : {"task", "dataset", "file"}) {
    EXPECT_HOLDS(concat("rows, entry 2: ", key, " is missing"),
                 message_of_row(with(row("A"), key, nullptr)));
    EXPECT_HOLDS(concat("rows, entry 2: ", key, " = 3, expected a string"),
                 message_of_row(with(row("A"), key, 3)));
    EXPECT_HOLDS(concat("rows, entry 2: ", key, " is empty"),
                 message_of_row(with(row("A"), key, "")));
  }
  EXPECT_HOLDS("follows = [], expected a string",
               message_of_row(with(row("A"), "follows", json::array())));
}

TEST_F(TaskReportTest, HasNoRowTwice) {
  EXPECT_HOLDS("rows, entry 2: task is 'RTE', as in entry 1", message_of_row(row("RTE")));
  for (const char* file : {"RTE.jsonl", "./RTE.jsonl", "x/../RTE.jsonl"})
    EXPECT_HOLDS("rows, entry 2: file is '", message_of_row(with(row("A"), "file", file)));
}

TEST_F(TaskReportTest, NamesNothingOutsideItsFolder) {
  for (const char* file : {"/etc/passwd", "../A.jsonl", "a/../../A.jsonl", "..", "a/..", "/"}) {
    const std::string message = message_of_row(with(row("A"), "file", file));
    EXPECT_HOLDS(concat("rows, entry 2: file is '", file, "'"), message);
    EXPECT_HOLDS("--data-root", message);
  }
  EXPECT_HOLDS("file is '", message_of_row(with(row("A"), "file", std::string("a\0.jsonl", 8))));
  EXPECT_EQ(read(report({with(row("A"), "file", "clue/..A.jsonl")})).rows[0].file,
            "clue/..A.jsonl");
}

}  // namespace
}  // namespace kvcalib
