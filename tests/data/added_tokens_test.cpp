// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/added_tokens.h"

#include <gtest/gtest.h>

namespace kvcalib {
namespace {

using Texts = std::vector<std::string>;

// The parts of a text, tokens in brackets.
Texts parts(const AddedTokens& tokens, std::string_view text) {
  Texts found;
  for (const AddedTokens::Part& part : tokens.split(text))
    found.push_back(part.token == nullptr ? part.text : "[" + part.token->content + "]");
  return found;
}

TEST(AddedTokens, AreCutOutOfATextTheFirstAndLongestFirst) {
  const AddedTokens tokens({{"<s>", 1}, {"<s>>", 2}, {"<|end|>", 3}});
  EXPECT_EQ(parts(tokens, ""), Texts{});
  EXPECT_EQ(parts(tokens, "a < b"), Texts{"a < b"});
  EXPECT_EQ(parts(tokens, "<s><s>"), (Texts{"[<s>]", "[<s>]"}));
  EXPECT_EQ(parts(tokens, "a<s>>b<<s> <|end|"), (Texts{"a", "[<s>>]", "b<", "[<s>]", " <|end|"}));
}

TEST(AddedTokens, TakeTheWhiteSpaceBesideThem) {
  const AddedTokens tokens(
      {{.content = "L", .takes_space_before = true}, {.content = "R", .takes_space_after = true}});
  EXPECT_EQ(parts(tokens, "a \u3000\u0085L b R\t\u2028 \u00a0c R"),
            (Texts{"a", "[L]", " b ", "[R]", "c ", "[R]"}));
  EXPECT_EQ(parts(tokens, " L"), Texts{"[L]"});
}

TEST(AddedTokens, ThatAreWordsAreNotFoundInOthers) {
  const AddedTokens tokens({{.content = "word", .single_word = true}});
  EXPECT_EQ(parts(tokens, "a word word"), (Texts{"a ", "[word]", " ", "[word]"}));
  EXPECT_EQ(parts(tokens, "a sword"), Texts{"a sword"});
  EXPECT_EQ(parts(tokens, "word, a"), Texts{"word, a"});
}

TEST(AddedTokens, WithoutATextAreNone) {
  EXPECT_EQ(parts(AddedTokens({{"", 1}}), "ab"), Texts{"ab"});
}

}  // namespace
}  // namespace kvcalib
