// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/json_reader.h"

#include <gtest/gtest.h>

#include "sharding/files/excerpt.h"
#include "sharding/files/json_object.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

using nlohmann::json;

std::string refusal(std::string_view text) {
  return message_of([&] { parse_json(text, "a.json"); });
}

std::string nested(size_t depth, const std::string& open, const std::string& close) {
  std::string text;
  for (size_t i = 0; i < depth; ++i) text += open;
  text += "1";
  for (size_t i = 0; i < depth; ++i) text += close;
  return text;
}

TEST(JsonReader, ReadsAsTheLibraryDoes) {
  for (
      const char* text :
      {"null", "true", "-1", "18446744073709551615", "-9223372036854775808", "1.5", "1e300", "\"\"",
       "\"\\u00e9\\ud83d\\ude00\"", "[]", "{}", "[[], {}, [[1]], \"x\"]",
       R"({"a": {"b": [1, 2, {"c": null}], "d": {}}, "e": [], "": "x", "f": [{"g": 1}, {"g": 2}]})",
       "\xEF\xBB\xBF{\"a\": 1}", " \t\r\n{ } \n"}) {
    const json value = parse_json(text, "");
    EXPECT_EQ(value, json::parse(text)) << text;
    EXPECT_EQ(value.type(), json::parse(text).type()) << text;
  }
}

TEST(JsonReader, SaysWhereATextIsNoJson) {
  EXPECT_HOLDS("a.json: is not JSON, at byte 1", refusal(""));
  EXPECT_HOLDS("a.json: is not JSON, at byte 6", refusal("{\"a\":"));
  EXPECT_HOLDS("a.json: is not JSON, at byte 4", refusal("[1,]"));
  EXPECT_HOLDS("a.json: is not JSON, at byte 4", refusal("{} {}"));
  EXPECT_HOLDS("at byte 3: a zero byte", refusal(std::string("{}\0{}", 5)));
}

TEST(JsonReader, NamesTheRuleThatATextBreaks) {
  for (const char* text : {"[NaN]", "[Infinity]", "[-Infinity]", "{\"a\": NaN}"})
    EXPECT_HOLDS(": JSON has no NaN and no Infinity; write null or a number", refusal(text));
  for (const char* text :
       {"\"\\ud83d\"", "\"\\ud83dx\"", "\"\\ude00\"", "\"\\ud83d\\ud83d\"", "{\"\\udfff\": 1}"})
    EXPECT_HOLDS(": half of a surrogate pair", refusal(text)) << text;
  EXPECT_HOLDS(": a number beyond the range of a double", refusal("[1e999]"));
  EXPECT_HOLDS(": a number beyond the range of a double", refusal(std::string(400, '9')));
  EXPECT_HOLDS(": the text is not UTF-8", refusal("[\"\xe9t\xe9\"]"));
}

TEST(JsonReader, RefusesAKeyThatIsStatedTwiceUnlessAlike) {
  EXPECT_EQ(parse_json(R"({"a": 1, "a": 1})", ""), json::parse(R"({"a": 1})"));
  EXPECT_HOLDS("'a' twice", refusal(R"({"a": [], "a": []})"));
  EXPECT_HOLDS("a.json: states 'b' twice", refusal(R"({"a": {"b": 1, "c": 2, "b": 3}})"));
  EXPECT_EQ(parse_json(R"([{"b": 1}, {"b": 2}])", ""), json::parse(R"([{"b": 1}, {"b": 2}])"));
}

TEST(JsonReader, StopsWhereTheNestingIsTooDeep) {
  for (const auto& [open, close] : {std::pair{"[", "]"}, {"{\"a\":", "}"}}) {
    EXPECT_NO_THROW(parse_json(nested(kDeepestJson, open, close), ""));
    for (const size_t depth : {size_t{kDeepestJson} + 1, size_t{80'000}, size_t{1'000'000}})
      EXPECT_HOLDS("a.json: holds arrays or objects more than 128 deep in each other",
                   refusal(nested(depth, open, close)));
    EXPECT_HOLDS("more than 128 deep", refusal(std::string(open) + nested(500'000, open, "")));
  }
}

TEST(JsonReader, ShowsAValueInOneShortLine) {
  EXPECT_EQ(json_excerpt(json::parse(R"({"a": [1, "x"]})")), R"({"a":[1,"x"]})");
  EXPECT_EQ(json_excerpt(json(std::string(1000, 'x'))), "\"" + std::string(79, 'x') + "...");
  EXPECT_EQ(excerpt("a\nb\x1b[31m"), "a?b?[31m");
  std::string umlauts(79, 'x');
  for (int i = 0; i < 10; ++i) umlauts += "\u00fc";
  EXPECT_EQ(excerpt(umlauts), std::string(79, 'x') + "...") << "no character is cut in two";
}

TEST(JsonObject, EchoesWhatItRefusesInOneShortLine) {
  const JsonObject object = JsonObject::parse(
      json{{"a", std::string(100'000, 'x')}, {"b", json::parse(nested(100, "[", "]"))}}.dump(),
      "f");
  for (const char* key : {"a", "b"})
    EXPECT_LT(message_of([&] { object.integer(key); }).size(), 200U) << key;
  EXPECT_HOLDS("f: is not a JSON object but [1,2]",
               message_of([] { JsonObject::parse("[1, 2]", "f"); }));
}

}  // namespace
}  // namespace kvcalib
