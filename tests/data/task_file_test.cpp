// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/task_file.h"

#include <gtest/gtest.h>

#include "sharding/files/sha256.h"
#include "tests/data/data_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;
using nlohmann::json;

constexpr int64_t kVocab = 100;

json header() {
  return {{"format", "kvcalib-task"}, {"version", 1},         {"task", "RTE"},
          {"dataset", "SuperGLUE"},   {"metric", "accuracy"}, {"rule", "ppl"}};
}

json item(const std::string& id) {
  return {{"id", id}, {"texts", {"A sky.", "A sea."}}, {"gold", 1}};
}

json item_of_ids(const std::string& id) {
  return {{"id", id}, {"ids", {{1, 2, 3}, {1, 4}}}, {"gold", 0}};
}

json generating() {
  json header = {{"extract", "em"}, {"max_new_tokens", 100}};
  header.update(::kvcalib::header());
  header["rule"] = "gen";
  return header;
}

json question(const std::string& id) {
  return {{"id", id}, {"prompt", "Who?"}, {"answers", {"I", "You"}}};
}

json question_of_ids(const std::string& id) {
  return {{"id", id}, {"ids", {1, 2, 3}}, {"answers", {"I"}}};
}

std::string lines(const std::vector<json>& values) {
  std::string text;
  for (const json& value : values) text += value.dump() + "\n";
  return text;
}

// `object` with `key` as `value`, or without it for null.
json with(json object, const std::string& key, const json& value) {
  object.erase(key);
  if (!value.is_null()) object[key] = value;
  return object;
}

class TaskFileTest : public testing::Test {
 protected:
  TaskFile read(std::string_view bytes, std::optional<int64_t> most_items = {},
                const std::string& name = "rte.jsonl") {
    return read_task_file(write(folder_.path() / name, bytes), kVocab, most_items);
  }
  std::string refusal(std::string_view bytes, const std::string& name = "rte.jsonl") {
    return message_of([&] { read(bytes, {}, name); });
  }

  TemporaryFolder folder_;
};

TEST_F(TaskFileTest, GivesHeaderAndItems) {
  json first = header();
  first["labels"] = {"Yes", "No"};
  first["average"] = "groups";
  first["follows"] = "a public config";
  const std::string bytes =
      lines({first, with(item("a"), "group", "g"), with(with(item("b"), "gold", 0), "group", "h")});
  const TaskFile task = read(bytes);
  EXPECT_EQ(task.task, "RTE");
  EXPECT_EQ(task.dataset, "SuperGLUE");
  EXPECT_EQ(task.metric, "accuracy");
  EXPECT_EQ(task.follows, "a public config");
  EXPECT_EQ(task.rule, ScoringRule::kPerToken);
  EXPECT_EQ(task.labels, (std::vector<std::string>{"Yes", "No"}));
  EXPECT_TRUE(task.mean_of_groups);
  EXPECT_FALSE(task.bos.has_value());
  EXPECT_EQ(task.file.sha256, sha256_hex(bytes));
  ASSERT_EQ(task.items.size(), 2u);
  EXPECT_EQ(task.items[0].id, "a");
  EXPECT_EQ(task.items[0].group, "g");
  EXPECT_EQ(task.items[0].texts, (std::vector<std::string>{"A sky.", "A sea."}));
  EXPECT_EQ(task.items[0].gold, 1);
  EXPECT_EQ(task.items[1].gold, 0);
  EXPECT_EQ(task.where(task.items[1]), (folder_.path() / "rte.jsonl").string() + ", line 3");
}

TEST_F(TaskFileTest, NeedsLittle) {
  const TaskFile task = read(lines({header(), item("a")}));
  EXPECT_TRUE(task.labels.empty());
  EXPECT_TRUE(task.follows.empty());
  EXPECT_FALSE(task.mean_of_groups);
  EXPECT_TRUE(task.items[0].group.empty());
  EXPECT_TRUE(task.items[0].from.empty());
  EXPECT_FALSE(task.holds_ids());
}

TEST_F(TaskFileTest, KnowsTheRules) {
  for (const ScoringRule rule :
       {ScoringRule::kPerToken, ScoringRule::kPerPredicted, ScoringRule::kSum}) {
    const json from = rule == ScoringRule::kSum ? json{2, 0} : json();
    const TaskFile task =
        read(lines({with(header(), "rule", name_of(rule)), with(item("a"), "from", from)}));
    EXPECT_EQ(task.rule, rule);
    const std::vector<int64_t> expected =
        rule == ScoringRule::kSum ? std::vector<int64_t>{2, 0} : std::vector<int64_t>{};
    EXPECT_EQ(task.items[0].from, expected);
  }
}

TEST_F(TaskFileTest, TakesIdsForTexts) {
  const TaskFile task = read(lines({with(header(), "bos", 1), item_of_ids("a"), item_of_ids("b")}));
  EXPECT_TRUE(task.holds_ids());
  EXPECT_EQ(task.bos, 1);
  EXPECT_EQ(task.items[1].ids, (std::vector<std::vector<int32_t>>{{1, 2, 3}, {1, 4}}));
  EXPECT_EQ(task.items[1].choices(), 2);
}

TEST_F(TaskFileTest, TakesQuestions) {
  const TaskFile task =
      read(lines({with(generating(), "average", "groups"), with(question("a"), "group", "g")}));
  ASSERT_TRUE(task.generation.has_value());
  EXPECT_EQ(task.generation->extract, "em");
  EXPECT_EQ(task.generation->max_new_tokens, 100);
  EXPECT_TRUE(task.mean_of_groups);
  EXPECT_FALSE(task.holds_ids());
  EXPECT_EQ(task.items[0].prompt, "Who?");
  EXPECT_EQ(task.items[0].answers, (std::vector<std::string>{"I", "You"}));
  EXPECT_EQ(task.items[0].group, "g");
  EXPECT_EQ(task.items[0].choices(), 0);
  EXPECT_FALSE(read(lines({header(), item("a")})).generation.has_value());
}

TEST_F(TaskFileTest, TakesIdsForPrompts) {
  const TaskFile task = read(lines({with(generating(), "bos", 1), question_of_ids("a")}));
  EXPECT_TRUE(task.holds_ids());
  EXPECT_TRUE(task.items[0].prompt.empty());
  EXPECT_EQ(task.items[0].prompt_ids, (std::vector<int32_t>{1, 2, 3}));
}

TEST_F(TaskFileTest, KnowsTheAnswerRules) {
  for (const std::string_view name : kAnswerRules)
    EXPECT_EQ(read(lines({with(generating(), "extract", name), question("a")})).generation->extract,
              name);
  for (const int64_t most : {1, 4096})
    EXPECT_EQ(read(lines({with(generating(), "max_new_tokens", most), question("a")}))
                  .generation->max_new_tokens,
              most);
}

TEST_F(TaskFileTest, EndsLinesAtLineFeedsAlone) {
  const std::string odd = "one\u2028two\u2029three\u0085four\x0b\x0c";
  const std::string second = json{{"id", "b"}, {"texts", {odd, "x"}}, {"gold", 0}}.dump();
  const TaskFile task =
      read(header().dump() + "\r\n\n" + second + "\r\n \t\r\n" + item("c").dump());
  ASSERT_EQ(task.items.size(), 2u);
  EXPECT_EQ(task.items[0].texts[0], odd);
  EXPECT_EQ(task.items[0].line, 3u);
  EXPECT_EQ(task.items[1].line, 5u);
}

TEST_F(TaskFileTest, CountsCharactersForFrom) {
  const json texts = {"\u00e9\u8a9e\U0001f600!", "ab"};
  const json rule = with(header(), "rule", "ll");
  const json question = {{"id", "a"}, {"texts", texts}, {"gold", 0}, {"from", {3, 1}}};
  EXPECT_EQ(read(lines({rule, question})).items[0].from, (std::vector<int64_t>{3, 1}));
  EXPECT_HOLDS("line 2: from holds 4, expected a place in text 0, from 0 to 3",
               refusal(lines({rule, with(question, "from", {4, 1})})));
}

TEST_F(TaskFileTest, ReadsCompressedFiles) {
  const std::string bytes = gzip(lines({header(), item("a"), item("b")}));
  EXPECT_EQ(read(bytes, {}, "rte.jsonl.gz").items.size(), 2u);
  EXPECT_HOLDS("rte.jsonl.gz, line 2: gold",
               refusal(gzip(lines({header(), with(item("a"), "gold", 2)})), "rte.jsonl.gz"));
  EXPECT_HOLDS("rte.jsonl.gz: the gzip data are cut off",
               refusal(bytes.substr(0, bytes.size() - 3), "rte.jsonl.gz"));
}

TEST_F(TaskFileTest, TakesTheFirstItems) {
  const std::string bytes = lines({header(), item("a"), item("b"), item("c")}) + "rubbish\n";
  const TaskFile task = read(bytes, 2);
  ASSERT_EQ(task.items.size(), 2u);
  EXPECT_EQ(task.items.back().id, "b");
  EXPECT_EQ(task.file.sha256, sha256_hex(bytes));
  EXPECT_HOLDS("rte.jsonl, line 5: is not JSON", refusal(bytes));
}

TEST_F(TaskFileTest, RefusesDamagedHeaders) {
  const std::vector<std::pair<json, const char*>> table{
      {with(header(), "format", nullptr), "is not the first line of a task file"},
      {with(header(), "format", "kvcalib"), "is not the first line of a task file"},
      {with(header(), "format", 1), "is not the first line of a task file"},
      {item("a"), "is not the first line of a task file"},
      {with(header(), "version", nullptr), "version is missing"},
      {with(header(), "version", 2), "version is 2, expected 1; make the file again"},
      {with(header(), "version", "1"), "version = \"1\", expected a whole number"},
      {with(header(), "task", nullptr), "task is missing"},
      {with(header(), "task", ""), "task is empty"},
      {with(header(), "dataset", 3), "dataset = 3, expected a string"},
      {with(header(), "metric", "F1"), "metric is 'F1', expected accuracy"},
      {with(header(), "rule", "PPL"), "rule is 'PPL', expected ppl, ppl/(n-1), ll or gen"},
      {with(header(), "rule", nullptr), "rule is missing"},
      {with(header(), "labels", "Yes"), "labels = \"Yes\", expected a list of strings"},
      {with(header(), "labels", {1, 2}), "expected a list of strings"},
      {with(header(), "average", "rows"), "average is 'rows', expected items or groups"},
      {with(header(), "follows", 1), "follows = 1, expected a string"},
      {with(header(), "bos", 100), "bos holds 100, expected an id from 0 to 99"},
      {with(header(), "lables", {"a", "b"}), "the key 'lables' is unknown; expected average, bos"},
      {with(header(), "extract", "em"), "extract is of rule gen alone, but the file's rule is ppl"},
      {with(with(header(), "rule", "ll"), "max_new_tokens", 1),
       "max_new_tokens is of rule gen alone, but the file's rule is ll"},
      {with(generating(), "extract", nullptr), "extract is missing"},
      {with(generating(), "extract", "EM"),
       "extract is 'EM', expected one of contains, em, em-record, first-word, gsm8k-2023, gsm8k-"},
      {with(generating(), "max_new_tokens", nullptr), "max_new_tokens is missing"},
      {with(generating(), "max_new_tokens", 0),
       "max_new_tokens holds 0, expected a number from 1 to 4096"},
      {with(generating(), "max_new_tokens", 4097), "max_new_tokens holds 4097, expected a number"},
      {with(generating(), "max_new_tokens", "9"), "max_new_tokens holds \"9\", expected a number"},
      {with(generating(), "labels", {"a", "b"}), "has labels, but the rule is gen"},
      {json::array({1}), "is not a JSON object"}};
  for (const auto& [first, expected] : table) {
    const std::string message = refusal(lines({first, item("a")}));
    EXPECT_HOLDS("rte.jsonl, line 1: ", message);
    EXPECT_HOLDS(expected, message);
  }
}

TEST_F(TaskFileTest, RefusesDamagedItems) {
  const std::vector<std::pair<json, const char*>> table{
      {with(item("a"), "id", nullptr), "id is missing"},
      {with(item("a"), "id", ""), "id is empty"},
      {with(item("a"), "id", 7), "id = 7, expected a string"},
      {with(item("a"), "texts", nullptr), "has neither texts nor ids"},
      {with(item("a"), "ids", {{1, 2}, {3, 4}}), "has both texts and ids"},
      {with(item("a"), "texts", {"one"}), "has 1 texts, expected 2 to 4096"},
      {with(item("a"), "texts", std::vector<std::string>(4097, "x")), "has 4097 texts"},
      {with(item("a"), "texts", json::array()), "has 0 texts, expected 2 to 4096"},
      {with(item("a"), "texts", {"one", ""}), "text 1 is empty"},
      {with(item("a"), "texts", {"one", 2}), "expected a list of strings"},
      {with(item("a"), "texts", "one"), "expected a list of strings"},
      {with(item("a"), "gold", nullptr), "gold holds null, expected a text, from 0 to 1"},
      {with(item("a"), "gold", 2), "gold holds 2, expected a text, from 0 to 1"},
      {with(item("a"), "gold", -1), "gold holds -1, expected a text, from 0 to 1"},
      {with(item("a"), "gold", 0.0), "gold holds 0.0, expected a text, from 0 to 1"},
      {with(item("a"), "gold", "1"), "gold holds \"1\", expected a text, from 0 to 1"},
      {with(item("a"), "group", 1), "group = 1, expected a string"},
      {with(item("a"), "from", {1, 1}), "from is of rule ll alone, but the file's rule is ppl"},
      {with(item("a"), "label", "x"), "the key 'label' is unknown; expected from, gold, group"},
      {question("a"), "prompt is of rule gen alone, but the file's rule is ppl"},
      {json("text"), "is not a JSON object"}};
  for (const auto& [damaged, expected] : table) {
    const std::string message = refusal(lines({header(), item("first"), damaged}));
    EXPECT_HOLDS("rte.jsonl, line 3: ", message);
    EXPECT_HOLDS(expected, message);
  }
}

TEST_F(TaskFileTest, RefusesDamagedQuestions) {
  const std::vector<std::pair<json, const char*>> table{
      {with(question("a"), "prompt", nullptr), "has neither prompt nor ids"},
      {with(question("a"), "ids", {1}), "has both prompt and ids"},
      {with(question("a"), "prompt", ""), "prompt is empty"},
      {with(question("a"), "prompt", {"Who?"}), "prompt = [\"Who?\"], expected a string"},
      {with(question("a"), "answers", nullptr), "has 0 answers, expected 1 to 4096"},
      {with(question("a"), "answers", json::array()), "has 0 answers, expected 1 to 4096"},
      {with(question("a"), "answers", std::vector<std::string>(4097, "x")), "has 4097 answers"},
      {with(question("a"), "answers", {"x", ""}), "answer 1 is empty"},
      {with(question("a"), "answers", "x"), "expected a list of strings"},
      {with(question("a"), "gold", 0), "the key 'gold' is unknown; expected answers, group, id"},
      {item("a"), "the key 'gold' is unknown; expected answers, group, id"},
      {question("first"), "the id 'first' is that of line 2"},
      {question_of_ids("a"), "texts and ids are mixed"}};
  for (const auto& [damaged, expected] : table) {
    const std::string message = refusal(lines({generating(), question("first"), damaged}));
    EXPECT_HOLDS("rte.jsonl, line 3: ", message);
    EXPECT_HOLDS(expected, message);
  }
}

TEST_F(TaskFileTest, RefusesDamagedIdsOfPrompts) {
  const std::vector<std::pair<json, const char*>> table{
      {json::array(), "the prompt is empty"},
      {{1, 100}, "ids holds 100, expected an id"},
      {json{json{1, 2}}, "ids holds [1,2], expected an id"},
      {{2, 1}, "the prompt begins with id 2, but bos is 1"},
      {7, "ids = 7, expected a list"}};
  for (const auto& [ids, expected] : table)
    EXPECT_HOLDS(
        expected,
        refusal(lines({with(generating(), "bos", 1), with(question_of_ids("a"), "ids", ids)})));
}

TEST_F(TaskFileTest, RefusesDamagedIds) {
  const std::vector<std::pair<json, const char*>> table{
      {with(item_of_ids("a"), "ids", {{1, 2}, {100, 1}}), "ids holds 100, expected an id"},
      {with(item_of_ids("a"), "ids", {{1, 2}, {-1, 1}}), "ids holds -1, expected an id"},
      {with(item_of_ids("a"), "ids", {{1, 2}, {1, 1.5}}), "ids holds 1.5, expected an id"},
      {with(item_of_ids("a"), "ids", {{1, 2}, {1, 1ULL << 32}}), "ids holds 4294967296"},
      {with(item_of_ids("a"), "ids", {{1, 2}, json::array()}), "text 1 is empty"},
      {with(item_of_ids("a"), "ids", {1, 2}), "ids holds 1, expected lists of ids"},
      {with(item_of_ids("a"), "ids", 1), "ids = 1, expected a list"},
      {with(item_of_ids("a"), "ids", {{1, 2}, {2, 1}}), "text 1 begins with id 2, but bos is 1"},
      {item("a"), "texts and ids are mixed"}};
  for (const auto& [damaged, expected] : table) {
    const std::string message =
        refusal(lines({with(header(), "bos", 1), item_of_ids("first"), damaged}));
    EXPECT_HOLDS("rte.jsonl, line 3: ", message);
    EXPECT_HOLDS(expected, message);
  }
}

TEST_F(TaskFileTest, RefusesDamagedContinuations) {
  const std::vector<std::pair<json, const char*>> table{
      {nullptr, "from is missing"},
      {1, "from = 1, expected a list"},
      {json{1}, "from has 1 entries, but there are 2 texts"},
      {json{1, 6}, "from holds 6, expected a place in text 1, from 0 to 5"},
      {json{-1, 1}, "from holds -1, expected a place in text 0, from 0 to 5"}};
  for (const auto& [from, expected] : table) {
    EXPECT_HOLDS(expected,
                 refusal(lines({with(header(), "rule", "ll"), with(item("a"), "from", from)})));
  }
  EXPECT_HOLDS(
      "from holds 3, expected a place in text 0, from 0 to 2",
      refusal(lines({with(header(), "rule", "ll"), with(item_of_ids("a"), "from", {3, 1})})));
}

TEST_F(TaskFileTest, RefusesWhatDoesNotFitTogether) {
  EXPECT_HOLDS("rte.jsonl, line 4: the id 'a' is that of line 2",
               refusal(lines({header(), item("a"), item("b"), item("a")})));
  EXPECT_HOLDS("rte.jsonl, line 2: has 2 texts, but the file's labels are 3",
               refusal(lines({with(header(), "labels", {"a", "b", "c"}), item("a")})));
  EXPECT_HOLDS("rte.jsonl, line 2: has no group, but the file's average is groups",
               refusal(lines({with(header(), "average", "groups"), item("a")})));
}

TEST_F(TaskFileTest, RefusesFilesWithoutItems) {
  EXPECT_HOLDS("rte.jsonl: holds no task", refusal(""));
  EXPECT_HOLDS("rte.jsonl: holds no task", refusal("\n \r\n"));
  EXPECT_HOLDS("rte.jsonl: holds no items", refusal(lines({header()})));
}

TEST_F(TaskFileTest, RefusesWhatIsNotJson) {
  EXPECT_HOLDS("line 1: is not JSON", refusal("rubbish"));
  EXPECT_HOLDS("line 2: is not JSON", refusal(header().dump() + "\n{\"id\": \"a\", \xff}"));
  const std::string twice = R"({"id": "a", "texts": ["x", "y"], "gold": 0, "gold": 1})";
  EXPECT_HOLDS("gold", refusal(header().dump() + "\n" + twice));
}

TEST_F(TaskFileTest, RefusesWhatIsNoFile) {
  const auto read_nothing = [&] { read_task_file(folder_.path() / "none.jsonl", kVocab); };
  EXPECT_HOLDS("none.jsonl: ", message_of(read_nothing));
  EXPECT_NE(message_of([&] { read_task_file(folder_.path(), kVocab); }), "nothing was thrown");
}

}  // namespace
}  // namespace kvcalib
