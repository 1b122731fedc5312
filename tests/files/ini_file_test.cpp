// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/ini_file.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

IniFile parse(std::string text) { return IniFile::parse(std::move(text), "dir/config.ini"); }

TEST(IniFile, ReadsWhatDeployWrites) {
  const IniFile file = parse(
      "[llama]\nmodel_name = llama2\nhead_num = 8\nnorm_eps = 1e-05\nrope_theta = 10000.0\n"
      "cache_chunk_size = -1\n\n");
  EXPECT_EQ(file.text_of("model_name"), "llama2");
  EXPECT_EQ(file.integer("head_num"), 8);
  EXPECT_EQ(file.integer("cache_chunk_size"), -1);
  EXPECT_EQ(file.number("norm_eps"), 1e-5);
  EXPECT_EQ(file.number("rope_theta"), 10000.0);
  EXPECT_EQ(file.origin(), "dir/config.ini");
  EXPECT_FALSE(file.find("quant_policy").has_value());
}

TEST(IniFile, FallsBackOnlyWhereAKeyIsMissing) {
  const IniFile file = parse("[llama]\nquant_policy = four\nrope_theta =\n");
  EXPECT_EQ(file.integer("kv_head_num", 7), 7);
  EXPECT_EQ(file.number("scaling", 0.5), 0.5);
  EXPECT_HOLDS("four", message_of([&] { file.integer("quant_policy", 0); }));
  EXPECT_HOLDS("rope_theta = :", message_of([&] { file.number("rope_theta", 1.0); }));
}

TEST(IniFile, IgnoresCaseOfSectionAndKeys) {
  const IniFile file = parse("[LLaMA]\nQuant_Policy = 4\n");
  EXPECT_EQ(file.integer("quant_policy"), 4);
  EXPECT_EQ(file.integer("QUANT_POLICY"), 4);
}

TEST(IniFile, EndsAValueAtWhiteSpaceAndSemicolonOnly) {
  const IniFile file =
      parse("; first\n# second\n[llama] ; x\na = 4 ; note\nb = 4;5\nc : 6\t;note\nd=  seven  \n");
  EXPECT_EQ(file.text_of("a"), "4");
  EXPECT_EQ(file.text_of("b"), "4;5");
  EXPECT_EQ(file.text_of("c"), "6");
  EXPECT_EQ(file.text_of("d"), "seven");
}

TEST(IniFile, SkipsOtherSectionsAndAByteOrderMark) {
  const IniFile file = parse("\xEF\xBB\xBF[other]\na = 1\n[llama]\nb = 2\n[more]\nc = 3\n");
  EXPECT_EQ(file.integer("b"), 2);
  EXPECT_FALSE(file.find("a").has_value());
  EXPECT_FALSE(file.find("c").has_value());
}

TEST(IniFile, RefusesTextWithoutTheSection) {
  EXPECT_HOLDS("dir/config.ini: has no section [llama]", message_of([] { parse("a = 1\n"); }));
  EXPECT_HOLDS("has no section [llama]", message_of([] { parse(""); }));
}

TEST(IniFile, RefusesLinesTheRuntimeWouldSkipOrMisread) {
  EXPECT_HOLDS("dir/config.ini: line 2 is neither a [section] nor 'key = value'",
               message_of([] { parse("[llama]\nquant_policy 4\n"); }));
  EXPECT_HOLDS("line 2 is neither", message_of([] { parse("[llama]\n= 4\n"); }));
  EXPECT_HOLDS("line 1 has no ']'", message_of([] { parse("[llama\na = 4\n"); }));
  EXPECT_HOLDS("line 3 is indented", message_of([] { parse("[llama]\na = 4\n b = 5\n"); }));
  EXPECT_HOLDS("line 3 states 'a' again (first on line 2)",
               message_of([] { parse("[llama]\na = 4\nA = 5\n"); }));
  EXPECT_HOLDS("zero byte", message_of([] { parse(std::string("[llama]\na = \0 4\n", 15)); }));
}

TEST(IniFile, NamesFileKeyAndValueOfWhatIsNoNumber) {
  const IniFile file = parse(
      "[llama]\na = 1.5\nb = 0x4\nc = 010\nd = 99999999999999999999\ne = nan\nf = 1e999\ng = 1x\n");
  for (const char* key : {"a", "b", "c", "d", "e", "g"}) {
    EXPECT_HOLDS(concat("dir/config.ini: ", key, " = ", file.text_of(key), ": not an integer"),
                 message_of([&] { file.integer(key); }));
  }
  for (const char* key : {"b", "e", "f", "g"}) {
    EXPECT_HOLDS(concat("dir/config.ini: ", key, " = ", file.text_of(key), ": not a number"),
                 message_of([&] { file.number(key); }));
  }
  EXPECT_HOLDS("dir/config.ini: [llama] has no 'absent'",
               message_of([&] { file.integer("absent"); }));
  EXPECT_HOLDS("has no 'absent'", message_of([&] { file.text_of("absent"); }));
}

TEST(IniFile, ReplacesOneValueAndKeepsEveryOtherByte) {
  const IniFile file = parse("# top\r\n[llama]\r\nQuant_policy  =  0\t; policy\r\nb = 1\r\n\r\n");
  EXPECT_EQ(file.with("quant_policy", "4").text(),
            "# top\r\n[llama]\r\nQuant_policy  =  4\t; policy\r\nb = 1\r\n\r\n");
  EXPECT_EQ(file.with("quant_policy", "4").integer("quant_policy"), 4);
  EXPECT_EQ(file.with("quant_policy", "0").text(), file.text());
  EXPECT_EQ(parse("[llama]\na =\nb = 2\n").with("a", "4").text(), "[llama]\na = 4\nb = 2\n");
  EXPECT_EQ(parse("[llama]\na = \nb = 2").with("b", "44").text(), "[llama]\na = \nb = 44");
}

TEST(IniFile, AddsAMissingKeyAsTheLastLineOfTheSection) {
  EXPECT_EQ(parse("[llama]\r\na = 1\r\n\r\n[more]\r\nb = 2\r\n").with("q", "4").text(),
            "[llama]\r\na = 1\r\nq = 4\r\n\r\n[more]\r\nb = 2\r\n");
  EXPECT_EQ(parse("[llama]\na = 1").with("q", "4").text(), "[llama]\na = 1\nq = 4");
  EXPECT_EQ(parse("[llama]").with("q", "4").text(), "[llama]\nq = 4");
}

TEST(IniFile, NamesAFileThatCannotBeRead) {
  EXPECT_HOLDS("/nonexistent/config.ini: cannot be read: No such file",
               message_of([] { IniFile::read("/nonexistent/config.ini"); }));
  EXPECT_HOLDS("/tmp: is a directory, expected a regular file",
               message_of([] { IniFile::read("/tmp"); }));
}

TEST(IniFile, ReadsAFileByteForByte) {
  const std::filesystem::path path =
      std::filesystem::path(testing::TempDir()) / "ini_file_test.ini";
  const std::string text = "[llama]\r\na = 1\nb = 2";
  std::ofstream(path, std::ios::binary) << text;
  EXPECT_EQ(IniFile::read(path).text(), text);
  EXPECT_EQ(IniFile::read(path).integer("a"), 1);
  std::filesystem::remove(path);
}

TEST(IniFile, RefusesASectionThatWouldContinueAKeyThatIsAdded) {
  EXPECT_HOLDS("file: line 2 is an indented [section]",
               message_of([] { IniFile::parse("[llama]\n  [other]\n", "file"); }));
  const IniFile file = IniFile::parse("  [llama]\n[other]\n", "file");
  EXPECT_EQ(file.with("quant_policy", "4").text(), "  [llama]\nquant_policy = 4\n[other]\n");
}

TEST(IniFile, EchoesWhatItRefusesInOneShortLine) {
  const std::string long_text(100'000, 'x');
  const IniFile file = IniFile::parse("[llama]\nnum_layer = " + long_text + "\n", "config.ini");
  EXPECT_LT(message_of([&] { file.integer("num_layer"); }).size(), 200U);
  EXPECT_LT(message_of([&] { file.number("num_layer"); }).size(), 200U);
  EXPECT_LT(message_of([&] {
              IniFile::parse("[llama]\n" + long_text + " = 1\n" + long_text + " = 2\n", "file");
            }).size(),
            200U);
}

}  // namespace
}  // namespace kvcalib
