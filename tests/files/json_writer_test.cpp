// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/json_writer.h"

#include <gtest/gtest.h>

namespace kvcalib {
namespace {

TEST(JsonWriter, EscapesBytesThatAreNotUtf8) {
  EXPECT_EQ(escape_invalid_utf8("plain \\ \xc3\xa9"), "plain \\ \xc3\xa9");
  EXPECT_EQ(escape_invalid_utf8("\xffpath\xc3/\xe2\x82"), "\\xffpath\\xc3/\\xe2\\x82");
  EXPECT_EQ(escape_invalid_utf8(""), "");
}

TEST(JsonWriter, WritesPathsOfAnyBytesAsJson) {
  const nlohmann::ordered_json value = {{"place", "/a\xff"}, {"files", {"b", "\xfe"}}};
  const std::string text = json_text(value);
  EXPECT_EQ(
      text,
      "{\n  \"place\": \"/a\\\\xff\",\n  \"files\": [\n    \"b\",\n    \"\\\\xfe\"\n  ]\n}\n");
  EXPECT_EQ(nlohmann::json::parse(text).at("place"), "/a\\xff");
}

}  // namespace
}  // namespace kvcalib
