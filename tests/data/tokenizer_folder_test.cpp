// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/tokenizer_folder.h"

#include <gtest/gtest.h>

#include <functional>

#include "calibrate/data/tokenizer.h"
#include "tests/data/data_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;

class BoundaryIdsTest : public testing::Test {
 protected:
  void configure(std::string_view json) { write(folder_.path() / "config.json", json); }
  // The embedded model's: BOS is 1, EOS 2.
  void place_sentencepiece() {
    copy_file(tiny_tokenizer(), folder_.path() / "tokenizer.model",
              std::filesystem::copy_options::overwrite_existing);
  }
  void expect(int64_t start, int64_t end, std::string_view config, size_t warnings = 0) {
    configure(config);
    const BoundaryIds ids = boundary_ids(folder_.path());
    EXPECT_EQ(ids.start, start) << config;
    EXPECT_EQ(ids.end, end) << config;
    EXPECT_EQ(ids.warnings.size(), warnings) << config;
  }

  const TemporaryFolder folder_;
};

TEST_F(BoundaryIdsTest, AreTheTokenizersWhereTheModelDoesNotSay) {
  place_sentencepiece();
  expect(1, 2, "{}");
  expect(1, 2, R"({"bos_token_id": null, "eos_token_id": []})");
}

TEST_F(BoundaryIdsTest, AreTheModelsWhereItsTokenizerDisagrees) {
  place_sentencepiece();
  expect(5, 32001, R"({"bos_token_id": 5, "eos_token_id": 32001})", 2);
  expect(1, 32001, R"({"eos_token_id": [32001, 32007]})", 1);
  EXPECT_HOLDS(
      "config.json: eos_token_id is 32001, which is what is written; tokenizer.model has 2",
      boundary_ids(folder_.path()).warnings.front());
}

TEST_F(BoundaryIdsTest, AreTheTokenizersWhereTheModelListsThemAmongOthers) {
  place_sentencepiece();
  expect(1, 2, R"({"bos_token_id": 1, "eos_token_id": [32001, 2]})");
}

TEST_F(BoundaryIdsTest, AreTheModelsBesideAnotherKindOfTokenizer) {
  write(folder_.path() / "tokenizer.model", "IQ== 0\nIg== 1\n");
  expect(128000, 128001, R"({"bos_token_id": 128000, "eos_token_id": [128001, 128009]})");
  expect(0, 151643, R"({"model_type": "qwen"})");
}

TEST_F(BoundaryIdsTest, AreRefusedWhereTheTokenizerIsALinkToNothing) {
  configure(R"({"bos_token_id": 1, "eos_token_id": 2})");
  create_symlink("nobody", folder_.path() / "tokenizer.model");
  for (const auto& reading :
       {std::function<void()>([&] { boundary_ids(folder_.path()); }),
        std::function<void()>([&] { find_tokenizer(folder_.path()); }),
        std::function<void()>([&] { tokenizer_files_of_model(folder_.path()); })})
    EXPECT_HOLDS("tokenizer.model: cannot be read: No such file", message_of(reading));
}

TEST_F(BoundaryIdsTest, AreMissedWhereNeitherStatesThem) {
  for (const char* config :
       {"{}", R"({"bos_token_id": 1})", R"({"bos_token_id": 1, "eos_token_id": "2"})"}) {
    configure(config);
    EXPECT_HOLDS("config.json: states no bos_token_id and eos_token_id",
                 message_of([&] { boundary_ids(folder_.path()); }))
        << config;
  }
}

}  // namespace
}  // namespace kvcalib
