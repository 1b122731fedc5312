// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/tokenizer.h"

#include <gtest/gtest.h>
#include <sentencepiece_trainer.h>

#include <limits>

#include "tests/data/data_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;
using std::filesystem::path;

constexpr uint64_t kNoBound = std::numeric_limits<uint64_t>::max();

class FindTokenizer : public testing::Test {
 protected:
  FindTokenizer() : weights_(folder_.path() / "workspace/weights") {
    create_directories(weights_);
    create_directories(weights_.parent_path() / "tokenizer");
  }
  void place(const std::string& name) { write(weights_.parent_path() / name, "x"); }

  TemporaryFolder folder_;
  path weights_;
};

TEST_F(FindTokenizer, LooksBesideTheWeightsThenAmongThem) {
  place("weights/tokenizer.model");
  EXPECT_EQ(find_tokenizer(weights_), weights_ / "tokenizer.model");
  place("tokenizer/tokenizer.model");
  const path beside = weights_.parent_path() / "tokenizer/tokenizer.model";
  EXPECT_EQ(find_tokenizer(weights_), beside);
  EXPECT_EQ(find_tokenizer(weights_ / ""), beside);
}

TEST_F(FindTokenizer, FollowsALinkToTheWeights) {
  place("tokenizer/tokenizer.model");
  const path link = folder_.path() / "link";
  create_symlink(weights_, link);
  EXPECT_TRUE(
      equivalent(find_tokenizer(link), weights_.parent_path() / "tokenizer/tokenizer.model"));
}

TEST_F(FindTokenizer, NamesBothPlacesWhenThereIsNone) {
  const std::string message = message_of([&] { find_tokenizer(weights_); });
  EXPECT_HOLDS("workspace/tokenizer/tokenizer.model nor ", message);
  EXPECT_HOLDS("workspace/weights/tokenizer.model", message);
  EXPECT_HOLDS("name the model's with --tokenizer", message);
}

TEST_F(FindTokenizer, PointsToTheScriptForOtherKinds) {
  for (const char* name : {"tokenizer/qwen.tiktoken", "weights/tokenizer.json"}) {
    place(name);
    const std::string message = message_of([&] { find_tokenizer(weights_); });
    EXPECT_HOLDS(concat(name, ": is no SentencePiece model"), message);
    EXPECT_HOLDS("scripts/tokenize_text.py", message);
    remove(weights_.parent_path() / name);
  }
}

class TokenizerTest : public testing::Test {
 protected:
  TokenizerTest() { std::filesystem::copy(tiny_tokenizer(), model()); }
  path model() const { return folder_.path() / "tokenizer.model"; }
  void configure(std::string_view json) { write(folder_.path() / "tokenizer_config.json", json); }
  std::string refusal(const path& file) {
    return message_of([&] { Tokenizer tokenizer(file); });
  }
  static std::string contents(const path& file) {
    std::ifstream stream(file, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  }
  // A model trained on a few sentences.
  path train(const std::string& options) {
    std::string corpus;
    for (int i = 0; i < 200; ++i) corpus += prose(i, 200) + "\n";
    write(folder_.path() / "corpus.txt", corpus);
    const path prefix = folder_.path() / "trained";
    const auto status = sentencepiece::SentencePieceTrainer::Train(concat(
        "--input=", (folder_.path() / "corpus.txt").string(), " --model_prefix=", prefix.string(),
        " --vocab_size=100 --hard_vocab_limit=false --minloglevel=9 ", options));
    EXPECT_TRUE(status.ok()) << status.ToString();
    return prefix.string() + ".model";
  }

  TemporaryFolder folder_;
};

TEST_F(TokenizerTest, BeginsEveryTextWithBos) {
  const Tokenizer tokenizer(model());
  EXPECT_EQ(tokenizer.encode(""), std::vector<int32_t>{1});
  const std::vector<int32_t> ids = tokenizer.encode("The house was old.");
  ASSERT_GT(ids.size(), 3u);
  EXPECT_EQ(ids[0], 1);
  std::string text;
  for (size_t i = 1; i < ids.size(); ++i) text += tokenizer.piece(ids[i]);
  EXPECT_EQ(text, "\u2581The\u2581house\u2581was\u2581old.");
}

TEST_F(TokenizerTest, LeavesBosOutWhereTheConfigSaysSo) {
  const std::vector<int32_t> with = Tokenizer(model()).encode("The house");
  for (const char* json : {R"({"add_bos_token": true})", "{}"}) {
    configure(json);
    EXPECT_EQ(Tokenizer(model()).encode("The house"), with) << json;
  }
  const std::vector<int32_t> without(with.begin() + 1, with.end());
  for (const char* json : {R"({"add_bos_token": false, "model_max_length": 2048})",
                           R"({"add_bos_token": null})", R"({"bos_token": null})"}) {
    configure(json);
    EXPECT_EQ(Tokenizer(model()).encode("The house"), without) << json;
  }
}

// What follows is what transformers 4.46.3 makes of this model and these files:
// LlamaTokenizer.from_pretrained(FOLDER).encode(TEXT).
using Ids = std::vector<int32_t>;

TEST_F(TokenizerTest, KeepsControlTokensWhole) {
  for (const char* json : {"{}", R"({"legacy": true})", R"({"legacy": null})"}) {
    configure(json);
    const Tokenizer tokenizer(model());
    EXPECT_EQ(tokenizer.encode("a <s> b"), (Ids{1, 261, 1966, 1, 1966, 273}));
    EXPECT_EQ(tokenizer.encode("<s>"), (Ids{1, 1}));
    EXPECT_EQ(tokenizer.encode("x<s>y"), (Ids{1, 1966, 2009, 1, 298}));
    EXPECT_EQ(tokenizer.encode("</s> q"), (Ids{1, 2, 1966, 1966, 2018}));
    EXPECT_EQ(tokenizer.encode(" <unk>\n"), (Ids{1, 1966, 1966, 0, 1966, 13}));
    EXPECT_EQ(tokenizer.encode("<s> <s>"), (Ids{1, 1, 1966, 1966, 1}));
  }
}

TEST_F(TokenizerTest, PutsOneSpaceBeforeATextThatIsNotCutTheOldWay) {
  configure(R"({"legacy": false})");
  const Tokenizer tokenizer(model());
  EXPECT_EQ(tokenizer.encode(""), (Ids{1}));
  EXPECT_EQ(tokenizer.encode("a <s> b"), (Ids{1, 261, 1966, 1, 273}));
  EXPECT_EQ(tokenizer.encode("<s>"), (Ids{1, 1}));
  EXPECT_EQ(tokenizer.encode("x<s>y"), (Ids{1, 1966, 2009, 1, 1981}));
  EXPECT_EQ(tokenizer.encode("</s> q"), (Ids{1, 2, 1966, 2018}));
  EXPECT_EQ(tokenizer.encode(" <unk>\n"), (Ids{1, 1966, 1966, 0, 13}));
  EXPECT_EQ(tokenizer.encode("<s> <s>"), (Ids{1, 1, 1966, 1}));
  EXPECT_EQ(tokenizer.encode("The house"), (Ids{1, 357, 867}));
}

TEST_F(TokenizerTest, CutsControlTokensWhereTheConfigSaysSo) {
  configure(R"({"split_special_tokens": true})");
  EXPECT_EQ(Tokenizer(model()).encode("a <s> b"), (Ids{1, 261, 1966, 63, 1973, 65, 273}));
}

TEST_F(TokenizerTest, AppendsEosWhereTheConfigSaysSo) {
  configure(R"({"add_bos_token": null, "add_eos_token": true})");
  EXPECT_EQ(Tokenizer(model()).encode("The house"), (Ids{357, 867, 2}));
}

constexpr const char* kAdded = R"("added_tokens_decoder": {
    "1": {"content": "<s>"}, "2048": {"content": "<|im_start|>", "rstrip": true},
    "2049": {"content": "<|im_end|>", "lstrip": true}, "2050": {"content": "[X]"},
    "2051": {"content": "word", "single_word": true}},
    "pad_token": "<pad>", "eos_token": "<|im_end|>", "add_eos_token": true)";

TEST_F(TokenizerTest, FindsTheTokensThatTheConfigAdds) {
  configure(concat("{", kAdded, "}"));
  const Tokenizer tokenizer(model());
  EXPECT_EQ(tokenizer.encode("a <|im_start|> b <|im_end|> c"),
            (Ids{1, 261, 1966, 2048, 273, 2049, 1966, 276, 2049}));
  EXPECT_EQ(tokenizer.encode("a [X] b"), (Ids{1, 261, 1966, 2050, 1966, 273, 2049}));
  EXPECT_EQ(tokenizer.encode("is a word"), (Ids{1, 335, 261, 1966, 2051, 2049}));
  EXPECT_EQ(tokenizer.encode("a wordy"), (Ids{1, 261, 1966, 838, 1981, 2049}));
  EXPECT_EQ(tokenizer.encode("<pad>"), (Ids{1, 2052, 2049}));
  EXPECT_EQ(tokenizer.piece(2052), "<pad>");
  EXPECT_EQ(tokenizer.piece(2053), "");
}

TEST_F(TokenizerTest, FindsTheTokensThatTheConfigAddsInATextThatIsNotCutTheOldWay) {
  configure(concat("{", kAdded, R"(, "legacy": false})"));
  const Tokenizer tokenizer(model());
  EXPECT_EQ(tokenizer.encode("a <|im_start|> b <|im_end|> c"),
            (Ids{1, 261, 1966, 2048, 1987, 2049, 276, 2049}));
  EXPECT_EQ(tokenizer.encode("a [X] b"), (Ids{1, 261, 1966, 2050, 273, 2049}));
  EXPECT_EQ(tokenizer.encode("a wordy"), (Ids{1, 261, 1966, 1982, 561, 1981, 2049}));
}

TEST_F(TokenizerTest, FindsTheTokensThatOlderFilesAdd) {
  write(folder_.path() / "added_tokens.json", R"({"<|im_start|>": 2048, "[X]": 2049})");
  write(
      folder_.path() / "special_tokens_map.json",
      R"({"bos_token": {"content": "<s>", "rstrip": true}, "additional_special_tokens": ["<q>"]})");
  const Tokenizer tokenizer(model());
  EXPECT_EQ(tokenizer.encode("a <s> b"), (Ids{1, 261, 1966, 1, 273}));
  EXPECT_EQ(tokenizer.encode("a[X]b<|im_start|>"), (Ids{1, 261, 2049, 273, 2048}));
  EXPECT_EQ(tokenizer.encode("<q>"), (Ids{1, 2050}));
}

TEST_F(TokenizerTest, FindsTheTokensThatAnotherFormOfTheTokenizerAdds) {
  write(folder_.path() / "tokenizer.json",
        R"({"added_tokens": [{"id": 2048, "content": "[X]", "lstrip": true, "rstrip": false}]})");
  EXPECT_EQ(Tokenizer(model()).encode("a [X] b"), (Ids{1, 261, 2048, 1966, 273}));
}

TEST_F(TokenizerTest, DoesWithoutAnotherFormOfTheTokenizerThatCannotBeReadAndWarns) {
  const Ids ids = Tokenizer(model()).encode("a [X] b");
  EXPECT_TRUE(Tokenizer(model()).warnings().empty());
  const std::pair<std::string, const char*> cases[] = {
      {R"({"added_tokens": [)", "tokenizer.json: "},
      {concat("version https://git-lfs.github.com/spec/v1\noid sha256:", std::string(64, 'a'),
              "\nsize 12345\n"),
       "tokenizer.json: is a Git LFS pointer"},
      {R"({"added_tokens": [{"id": 2048, "content": "[X]"}, {"id": -1, "content": "b"}]})",
       "tokenizer.json: the id of 'b' is not understood"}};
  for (const auto& [bytes, words] : cases) {
    write(folder_.path() / "tokenizer.json", bytes);
    const Tokenizer tokenizer(model());
    EXPECT_EQ(tokenizer.encode("a [X] b"), ids) << bytes;
    ASSERT_EQ(tokenizer.warnings().size(), 1u) << bytes;
    EXPECT_HOLDS(words, tokenizer.warnings().front());
    EXPECT_HOLDS("tokenizer.model is used without the tokens", tokenizer.warnings().front());
  }
}

TEST_F(TokenizerTest, TakesTheBosThatTheConfigNames) {
  configure(R"({"bos_token": "<begin>"})");
  EXPECT_EQ(Tokenizer(model()).encode("a"), (Ids{2048, 261}));
}

TEST_F(TokenizerTest, BoundsTheTokensOfATextWithAddedTokens) {
  configure(R"({"added_tokens_decoder": {"2048": {"content": "[]"}}, "add_eos_token": true})");
  const Tokenizer tokenizer(model());
  for (const std::string text : {"", "[]", "x[]x[]x", "[][][]", " [] <s></s>x", "[]x"})
    EXPECT_LE(tokenizer.encode(text).size(), tokenizer.most_tokens(text.size())) << text;
  EXPECT_EQ(tokenizer.most_tokens(100), 103u);
  for (const char* token : {R"({"content": "|"})", R"({"content": "[]", "single_word": true})"}) {
    configure(concat(R"({"added_tokens_decoder": {"2048": )", token, "}}"));
    EXPECT_EQ(Tokenizer(model()).most_tokens(100), kNoBound) << token;
  }
}

TEST_F(TokenizerTest, RefusesAConfigItCannotRead) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"add_bos_token": "no"})", "add_bos_token is \"no\"; expected true or false"},
      {R"({"legacy": 1})", "legacy is 1; expected true or false"},
      {R"({"bos_token": 1})", "bos_token is not understood; expected a text"},
      {R"({"additional_special_tokens": "<q>"})",
       "additional_special_tokens is not understood; expected an array"},
      {R"({"added_tokens_decoder": []})",
       "added_tokens_decoder is not understood; expected an object"},
      {R"({"added_tokens_decoder": {"-1": {"content": "a"}}})",
       "added_tokens_decoder's '-1' is not understood; expected the id of a token"},
      {R"({"added_tokens_decoder": {"4294967296": {"content": "a"}}})",
       "expected the id of a token"},
      {R"({"added_tokens_decoder": {"3": {"lstrip": true}}})", "with a text 'content'"}};
  for (const auto& [json, words] : cases) {
    configure(json);
    EXPECT_HOLDS("tokenizer_config.json: ", refusal(model())) << json;
    EXPECT_HOLDS(words, refusal(model())) << json;
  }
  configure("{}");
  write(folder_.path() / "added_tokens.json", R"({"a": "b"})");
  EXPECT_HOLDS("added_tokens.json: the id of 'a' is not understood; expected a number from 0 to ",
               refusal(model()));
  std::filesystem::remove(folder_.path() / "added_tokens.json");
  create_directory(folder_.path() / "special_tokens_map.json");
  EXPECT_HOLDS("special_tokens_map.json: is a directory", refusal(model()));
}

TEST_F(TokenizerTest, AddsNoBosThatTheModelHasNot) {
  const Tokenizer tokenizer(train("--model_type=bpe --bos_id=-1"));
  EXPECT_TRUE(tokenizer.encode("").empty());
  EXPECT_FALSE(tokenizer.encode("word").empty());
}

TEST_F(TokenizerTest, BoundsTheTokensOfAText) {
  const Tokenizer tokenizer(model());
  for (const std::string text :
       {"", "a", " ", "      ", "\n\n\n\t", "\u4f60\u597d", "\U0001f600\U0001f600", "\u2581\u2581",
        "\ufdfa\u00bd", "zqxjzqxj", "a b c d e f g h"}) {
    EXPECT_LE(tokenizer.encode(text).size(), tokenizer.most_tokens(text.size())) << text;
  }
  EXPECT_EQ(tokenizer.most_tokens(100), 102u);
}

TEST_F(TokenizerTest, SetsNoBoundWhereNormalisationMayLengthen) {
  // U+FDFA is 3 bytes; NFKC makes it 18 characters.
  const Tokenizer tokenizer(train("--model_type=char --normalization_rule_name=nmt_nfkc"));
  EXPECT_GT(tokenizer.encode("\ufdfa").size(), 5u);
  EXPECT_EQ(tokenizer.most_tokens(3), kNoBound);
  EXPECT_NE(Tokenizer(train("--model_type=char --normalization_rule_name=identity")).most_tokens(3),
            kNoBound);
}

TEST_F(TokenizerTest, SaysWhatAVocabularyOfTiktokenIs) {
  for (const char* bytes : {"IQ== 0\nIg== 1\n", "IQ== 0\r\nIg== 1\r\n", "8J+Z 100255"}) {
    const std::string message = refusal(write(folder_.path() / "tiktoken.model", bytes));
    EXPECT_HOLDS("tiktoken.model: is a vocabulary of tiktoken", message);
    EXPECT_HOLDS("scripts/tokenize_text.py and the model's tokenizer.json", message);
  }
}

TEST_F(TokenizerTest, RefusesDamagedCharacterRules) {
  const path trained = train("--model_type=char --normalization_rule_name=nmt_nfkc");
  const std::string whole = contents(trained);
  const size_t rules = whole.find("nmt_nfkc") + 8 + 4;  // behind the name: a tag and three of size
  const auto size_part = [&](size_t i) { return static_cast<size_t>(whole[rules - 3 + i] & 127); };
  const size_t last = rules + (size_part(0) | size_part(1) << 7 | size_part(2) << 14) - 4;
  ASSERT_EQ(whole[last + 3], '\0') << "a replacement ends the rules";
  for (const size_t damaged : {rules, rules + 2, rules + 5, rules + 600, last}) {
    std::string bytes = whole;
    bytes.replace(damaged, 4, "\xff\xff\xff\x0f");
    EXPECT_HOLDS("bad.model: its precompiled_charsmap",
                 refusal(write(folder_.path() / "bad.model", bytes)))
        << damaged - rules;
  }
}

TEST_F(TokenizerTest, RefusesPiecesThatAreNoTexts) {
  std::string bytes = contents(train("--model_type=unigram"));
  const size_t piece = bytes.find("\u2581a");
  ASSERT_NE(piece, std::string::npos);
  bytes[piece] = '\0';
  EXPECT_HOLDS("bad.model: is not a SentencePiece model",
               refusal(write(folder_.path() / "bad.model", bytes)));
}

TEST_F(TokenizerTest, RefusesWhatIsNoModel) {
  EXPECT_HOLDS("none.model", refusal(folder_.path() / "none.model"));
  const std::string whole = contents(model());
  for (const std::string& bytes : {std::string(), std::string("no model"),
                                   std::string(5000, '\xff'), whole.substr(0, whole.size() / 2)}) {
    EXPECT_HOLDS("bad.model: is not a SentencePiece model",
                 refusal(write(folder_.path() / "bad.model", bytes)));
  }
  EXPECT_HOLDS("scripts/tokenize_text.py", refusal(write(folder_.path() / "tokenizer.json", "{}")));
}

}  // namespace
}  // namespace kvcalib
