// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <tuple>

#include "calibrate/data/tokenizer.h"
#include "tests/data/data_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;
using Ids = std::vector<int32_t>;

class DecodeTest : public testing::Test {
 protected:
  DecodeTest() { std::filesystem::copy(tiny_tokenizer(), model()); }
  std::filesystem::path model() const { return folder_.path() / "tokenizer.model"; }
  void configure(std::string_view json) { write(folder_.path() / "tokenizer_config.json", json); }

  TemporaryFolder folder_;
};

constexpr const char* kAdded = R"({"added_tokens_decoder": {
    "1": {"content": "<s>"}, "2048": {"content": "<|im_start|>", "rstrip": true},
    "2049": {"content": "<|im_end|>", "lstrip": true}, "2050": {"content": "[X]"},
    "2051": {"content": "word", "single_word": true}},
    "pad_token": "<pad>", "eos_token": "<|im_end|>", "add_eos_token": true})";

// LlamaTokenizer.from_pretrained(FOLDER).decode(IDS, skip_special_tokens=True,
// clean_up_tokenization_spaces=False) of transformers 4.46.3.
TEST_F(DecodeTest, MakesTextsOfIds) {
  const std::tuple<Ids, std::string, std::string> cases[] = {
      {{}, "", ""},
      {{1, 357, 867, 2}, "The house", "The house"},
      {{2, 357, 2, 867}, "The house", "The house"},
      {{1966}, "", ""},
      {{1966, 357}, "The", " The"},
      {{1966, 1966, 1966, 2018}, " q", "  q"},
      {{13, 357}, "\n The", "\n The"},
      {{231, 187}, "\ufffd\ufffd", "\ufffd\ufffd"},
      {{231, 187, 176}, "\u4e2d", "\u4e2d"},
      {{231, 13, 187}, "\ufffd\n\ufffd", "\ufffd\n\ufffd"},
      {{231, 187, 357}, "\ufffd\ufffd The", "\ufffd\ufffd The"}};
  const Tokenizer old(model());
  for (const auto& [ids, text, other] : cases) EXPECT_EQ(old.decode(ids), text);
  for (const char* json : {R"({"legacy": false})", R"({"add_prefix_space": false})"}) {
    configure(json);
    const Tokenizer tokenizer(model());
    for (const auto& [ids, other, text] : cases) EXPECT_EQ(tokenizer.decode(ids), text) << json;
  }
}

TEST_F(DecodeTest, MakesTextsOfIdsWithAddedTokens) {
  configure(kAdded);
  const Tokenizer tokenizer(model());
  EXPECT_EQ(tokenizer.decode(Ids{357, 2050, 867}), "The [X] house");
  EXPECT_EQ(tokenizer.decode(Ids{2050, 2051}), "[X] word");
  EXPECT_EQ(tokenizer.decode(Ids{2048, 357, 2049}), "<|im_start|> The");
  EXPECT_EQ(tokenizer.decode(Ids{357, 2050, 1966}), "The [X] ");
  EXPECT_EQ(tokenizer.decode(Ids{357, 1966, 2050}), "The  [X]");
  EXPECT_EQ(tokenizer.decode(Ids{2052, 867}), "house");
}

TEST_F(DecodeTest, MakesNothingOfIdsThatAreNoToken) {
  EXPECT_EQ(Tokenizer(model()).decode(Ids{-1, 357, 2048, 867, 1 << 30}), "The house");
}

TEST_F(DecodeTest, GivesTextsBackThatItHasCut) {
  const Tokenizer tokenizer(model());
  for (const std::string text : {"The house was old.", "\n\n5", "caf\u00e9 \u5317\u4eac\u3002\t|"})
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
}

TEST_F(DecodeTest, KnowsWhatEndsATextThatIsWritten) {
  EXPECT_EQ(Tokenizer(model()).eos(), 2);
  configure(R"({"eos_token": null})");
  EXPECT_EQ(Tokenizer(model()).eos(), std::nullopt);
  configure(kAdded);
  EXPECT_EQ(Tokenizer(model()).eos(), 2049);
}

}  // namespace
}  // namespace kvcalib
