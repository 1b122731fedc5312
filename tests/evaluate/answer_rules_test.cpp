// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/answer_rules.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "calibrate/data/task_header.h"
#include "calibrate/evaluate/unicode_classes.h"

namespace kvcalib {
namespace {

std::string extracted(const char* rule, std::string_view text) {
  return AnswerRule(rule).extract(text);
}

bool is_right(const char* rule, std::string_view text, const std::vector<std::string>& answers) {
  return AnswerRule(rule).is_right(text, answers);
}

bool is_settled(const char* rule, std::string_view text) {
  return AnswerRule(rule).is_settled(text);
}

TEST(AnswerRules, AreThoseOfTaskFiles) {
  for (const std::string_view name : kAnswerRules) EXPECT_EQ(AnswerRule(name).name(), name);
  EXPECT_THROW(AnswerRule("exact"), std::invalid_argument);
}

TEST(AnswerRules, ExactMatchComparesWords) {
  EXPECT_EQ(extracted("em", " The  cat's a\thouse, and more"), "cats house");
  EXPECT_EQ(extracted("em", "1,234"), "1");
  EXPECT_EQ(extracted("em", "theory of A\u00c9"), "theory of A\u00c9");
  // A full-width stop cuts nothing, it is left out.
  EXPECT_EQ(extracted("em", "\u5317\u4eac\u3002\u4e0a\u6d77\nx"), "\u5317\u4eac\u4e0a\u6d77");
  EXPECT_EQ(extracted("em", "e\u0301te"), "ete");  // as a mark is no letter
  EXPECT_TRUE(is_right("em", "An end.", {"x", "the end"}));
  EXPECT_TRUE(is_right("em", "1", {"1,234"}));
  EXPECT_FALSE(is_right("em", "End", {"the end"}));
}

TEST(AnswerRules, RecordTakesTheFirstLineBehindThePrefix) {
  EXPECT_EQ(extracted("em-record", "\n Answer: The Met. x\ny"), "Met");
  EXPECT_EQ(extracted("em-record", "Answer: Answer: Ann"), "Ann");
  EXPECT_EQ(extracted("em-record", "Answer:\nAnn"), "Answer");
  // The blank is the prefix's where something follows, else it is dropped before.
  EXPECT_EQ(extracted("em-record", "Answer: \n"), "Answer");
  EXPECT_EQ(extracted("em-record", "Answer: \nAnn"), "");
  EXPECT_FALSE(is_settled("em-record", "Answer: \n"));
  EXPECT_TRUE(is_settled("em-record", "Answer: \nA"));
  EXPECT_TRUE(is_settled("em-record", "Ann \n"));
  EXPECT_FALSE(is_settled("em-record", "\n\n"));
  EXPECT_TRUE(is_right("em-record", "Answer: Ann, and more", {"Ann"}));
}

TEST(AnswerRules, FirstWordEndsAtABlankOrPunctuation) {
  EXPECT_EQ(extracted("first-word", "  signs. And"), "signs");
  EXPECT_EQ(extracted("first-word", "don't know"), "don");
  EXPECT_EQ(extracted("first-word", "one\ntwo"), "one");
  EXPECT_EQ(extracted("first-word", "a\\b c"), "ab");  // the one character that ends no word
  EXPECT_EQ(extracted("first-word", "\"signs"), "");
  EXPECT_TRUE(is_right("first-word", " Signs", {"Signs!"}));
  EXPECT_FALSE(is_right("first-word", " Signs", {"signs"}));
  EXPECT_FALSE(is_settled("first-word", "  sign"));
  EXPECT_TRUE(is_settled("first-word", "  sign "));
}

TEST(AnswerRules, ContainedAnswersAreWordsOfTheFirstLine) {
  EXPECT_EQ(extracted("contains", "It is PARIS, France\nLyon"), "it is paris, france");
  EXPECT_TRUE(is_right("contains", "It is PARIS, France", {"The Paris!"}));
  EXPECT_FALSE(is_right("contains", "It is\nParis", {"Paris"}));
  EXPECT_EQ(extracted("contains", "\nParis"), "");
  EXPECT_EQ(extracted("contains", "\u039f\u0394\u039f\u03a3 \u0130"),
            "\u03bf\u03b4\u03bf\u03c2 i\u0307");
  EXPECT_TRUE(is_settled("contains", "Paris\n"));
  EXPECT_FALSE(is_settled("contains", "Paris."));
}

TEST(AnswerRules, Gsm8kOf2023TakesTheDigitsOfTheLastWordWithAny) {
  EXPECT_EQ(extracted("gsm8k-2023", "She has 5.\nThe answer is $72.00 now\n\n9"), "7200");
  EXPECT_EQ(extracted("gsm8k-2023", "it is -5"), "5");
  EXPECT_EQ(extracted("gsm8k-2023", "is 5\n72 x"), "572");
  EXPECT_EQ(extracted("gsm8k-2023", "none"), "");
  EXPECT_TRUE(is_right("gsm8k-2023", "The answer is 1,234", {"1234"}));
  EXPECT_FALSE(is_right("gsm8k-2023", "72.00", {"72"}));
  EXPECT_FALSE(is_settled("gsm8k-2023", "is 72\n"));
  EXPECT_TRUE(is_settled("gsm8k-2023", "\n\n"));
}

TEST(AnswerRules, Gsm8kOf2024TakesTheLastNumber) {
  EXPECT_EQ(extracted("gsm8k-2024", "3-5 or 1,234 Question: 9"), "234");
  EXPECT_EQ(extracted("gsm8k-2024", "-72.50."), "-72.50");
  EXPECT_EQ(extracted("gsm8k-2024", "none"), "NULL");
  EXPECT_TRUE(is_right("gsm8k-2024", "$72.00.", {"72"}));
  EXPECT_TRUE(is_right("gsm8k-2024", "72.0000001", {" +7_2 "}));
  EXPECT_TRUE(is_right("gsm8k-2024", "\u0967", {"1"}));
  EXPECT_FALSE(is_right("gsm8k-2024", "72.5", {"72"}));
  EXPECT_FALSE(is_right("gsm8k-2024", "3.50", {"3.5"}));  // whose answer is no whole number
  EXPECT_FALSE(is_right("gsm8k-2024", std::string(400, '9'), {"1"}));
  EXPECT_TRUE(is_settled("gsm8k-2024", "7 Question:"));
  EXPECT_FALSE(is_settled("gsm8k-2024", "7\n\nQuestion"));
}

TEST(AnswerRules, ExactMatchIsSettledAtItsFirstEnd) {
  for (const char* text : {"\n", ".", ",", "Ann,", "Ann\u3002 x."}) {
    EXPECT_TRUE(is_settled("em", text)) << text;
  }
  for (const char* text : {"", " ", "Ann", "Ann\u3002"}) EXPECT_FALSE(is_settled("em", text));
}

TEST(AnswerRules, ACharacterThatIsCutIsUnknown) {
  EXPECT_EQ(extracted("contains", "x\xe4\xb8"), "x\ufffd\ufffd");
  EXPECT_FALSE(is_settled("em-record", "Answer: \n\xe3\x80"));
  EXPECT_FALSE(is_settled("em-record", "Answer: \n\ufffd\ufffd"));
  EXPECT_TRUE(is_settled("em", "Ann.\ufffd"));
}

TEST(UnicodeClasses, TurnUtf8IntoCodePointsAndBack) {
  const std::string text = "a\u00e9\u0939\u5317\U0001f40e\U0010ffff";
  EXPECT_EQ(utf8_of(code_points(text)), text);
  EXPECT_EQ(code_points(text).size(), 6u);
  EXPECT_EQ(code_points("\xed\xa0\x80|\xc0\xaf"), U"\ufffd\ufffd\ufffd|\ufffd\ufffd");
}

}  // namespace
}  // namespace kvcalib
