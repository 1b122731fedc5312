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
  for (const char* json : {R"({"add_bos_token": true})", R"({"add_bos_token": null})", "{}"}) {
    configure(json);
    EXPECT_EQ(Tokenizer(model()).encode("The house"), with) << json;
  }
  configure(R"({"add_bos_token": false, "model_max_length": 2048})");
  const std::vector<int32_t> without = Tokenizer(model()).encode("The house");
  EXPECT_EQ(without, std::vector<int32_t>(with.begin() + 1, with.end()));
}

TEST_F(TokenizerTest, RefusesAConfigItCannotRead) {
  configure(R"({"add_bos_token": "no"})");
  EXPECT_HOLDS("tokenizer_config.json: add_bos_token = \"no\", expected true or false",
               refusal(model()));
  configure("{");
  EXPECT_HOLDS("tokenizer_config.json: is not JSON, at byte 2", refusal(model()));
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

TEST_F(TokenizerTest, RefusesWhatIsNoModel) {
  EXPECT_HOLDS("none.model", refusal(folder_.path() / "none.model"));
  const std::string whole = [&] {
    std::ifstream stream(model(), std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(stream), {});
  }();
  for (const std::string& bytes : {std::string(), std::string("no model"),
                                   std::string(5000, '\xff'), whole.substr(0, whole.size() / 2)}) {
    EXPECT_HOLDS("bad.model: is not a SentencePiece model",
                 refusal(write(folder_.path() / "bad.model", bytes)));
  }
  EXPECT_HOLDS("scripts/tokenize_text.py", refusal(write(folder_.path() / "tokenizer.json", "{}")));
}

}  // namespace
}  // namespace kvcalib
