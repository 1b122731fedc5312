// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/json_text.h"

#include <gtest/gtest.h>

#include <fstream>

#include "sharding/files/excerpt.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

std::string refusal(std::string_view line) {
  return message_of([&] { text_of_json_line(line, "a.jsonl, line 3"); });
}

TEST(JsonText, FindsTheText) {
  EXPECT_EQ(text_of_json_line(R"({"text": "one"})", ""), "one");
  EXPECT_EQ(text_of_json_line(" {\"url\":\"u\",\"text\":\"\",\"n\":[1,{\"text\":2}]}\r", ""), "");
  EXPECT_EQ(text_of_json_line(R"({"meta":{"text":"no"},"text":"yes","more":{"text":"no"}})", ""),
            "yes");
}

TEST(JsonText, UnescapesAsJsonSays) {
  EXPECT_EQ(text_of_json_line(R"({"text": "a\n\t\"\\\/\u00e9\ud83d\ude00"})", ""),
            "a\n\t\"\\/\u00e9\U0001f600");
  EXPECT_EQ(text_of_json_line(R"({"text": "a\u0000b"})", ""), std::string("a\0b", 3));
}

TEST(JsonText, TakesTheLastOfTwoTexts) {
  EXPECT_EQ(text_of_json_line(R"({"text": "one", "text": "two"})", ""), "two");
  EXPECT_HOLDS("'text' is null, not a string", refusal(R"({"text": "one", "text": null})"));
}

TEST(JsonText, RefusesWhatIsNotJson) {
  for (const char* line : {"plain words", "{\"text\": \"cut", "{\"text\": \"a\"} more",
                           "{'text': 'a'}", "{\"text\": \"\\ud83d\"}", "{\"text\": \"a\tb\"}"}) {
    EXPECT_HOLDS("a.jsonl, line 3: is not JSON, at byte ", refusal(line)) << line;
  }
  const std::string nul("{\"text\": \"a\"}\0rubbish", 21);
  EXPECT_HOLDS("a.jsonl, line 3: is not JSON, at byte 14", refusal(nul));
}

TEST(JsonText, RefusesLinesWithoutAText) {
  EXPECT_HOLDS("line 3: is not a JSON object; expected lines such as", refusal(R"(["text", "a"])"));
  EXPECT_HOLDS("line 3: is not a JSON object", refusal(R"("text")"));
  EXPECT_HOLDS("line 3: has no 'text'", refusal(R"({"content": "a"})"));
  EXPECT_HOLDS("line 3: has no 'text'", refusal(R"({"a": {"text": "a"}})"));
}

TEST(JsonText, SaysWhatTheTextIsInstead) {
  EXPECT_HOLDS("'text' is a number, not a string", refusal(R"({"text": 3})"));
  EXPECT_HOLDS("'text' is a number, not a string", refusal(R"({"text": -3.5e1})"));
  EXPECT_HOLDS("'text' is a boolean, not a string", refusal(R"({"text": true})"));
  EXPECT_HOLDS("'text' is an array, not a string", refusal(R"({"text": ["a"]})"));
  EXPECT_HOLDS("'text' is an object, not a string", refusal(R"({"text": {"text": "a"}})"));
}

TEST(JsonText, RefusesWhatIsNotUtf8) {
  EXPECT_HOLDS("a.jsonl, line 3: is not UTF-8 at byte 11 of the line",
               refusal("{\"text\": \"\xe9t\xe9\"}"));
}

TEST(JsonText, RefusesDeepNesting) {
  for (const char* text : {"{\"text\":", "{\"text\":\"a\",\"b\":"}) {
    const std::string deep = text + std::string(200000, '[') + std::string(200000, ']') + "}";
    EXPECT_HOLDS("a.jsonl, line 3: holds arrays or objects more than 128 deep", refusal(deep));
  }
}

// The table has each line behind what is said of it; test_json_rule.py holds the script to it.
TEST(JsonText, KeepsTheRuleThatTheScriptHasToo) {
  std::ifstream table("tests/data/json_rule.tsv");
  int64_t rows = 0;
  for (std::string row; std::getline(table, row); ++rows) {
    const size_t tab = row.find('\t');
    const std::string said = row.substr(0, tab), line = row.substr(tab + 1);
    if (said == "accepted")
      EXPECT_NO_THROW(text_of_json_line(line, "row")) << excerpt(row);
    else
      EXPECT_HOLDS(said, refusal(line));
  }
  EXPECT_GE(rows, 30);
}

}  // namespace
}  // namespace kvcalib
