// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/turbomind_directory.h"

#include <gtest/gtest.h>

#include "sharding/formats/fingerprint.h"
#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

using fixture::small_model;
using fixture::TemporaryFolder;
using fixture::write_weights;

std::string refusal(const std::filesystem::path& folder) {
  return message_of([&] { TurboMindDirectory::open(folder); });
}

void replace_in_config(const std::filesystem::path& folder, const std::string& from,
                       const std::string& to) {
  std::string text = IniFile::read(folder / "config.ini").text();
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  fixture::write_file(folder / "config.ini", text.replace(at, from.size(), to));
}

TEST(TurboMindDirectory, ReadsTheModelThatConfigIniDescribes) {
  const TemporaryFolder folder;
  ModelConfig model = small_model();
  model.stored_ranks = 2;
  model.kv_heads = 2;
  write_weights(folder.path(), model);
  const TurboMindDirectory directory = TurboMindDirectory::open(folder.path());
  EXPECT_EQ(directory.config().layers, 3);
  EXPECT_EQ(directory.config().hidden, 64);
  EXPECT_EQ(directory.config().kv_heads, 2);
  EXPECT_EQ(directory.config().stored_ranks, 2);
  EXPECT_EQ(directory.config().rope_theta, 10000.0);
  EXPECT_EQ(directory.embedding_rows(), 50);
}

TEST(TurboMindDirectory, TakesAMissingKvHeadNumAsHeadNum) {
  const TemporaryFolder folder;
  write_weights(folder.path(), small_model());
  replace_in_config(folder.path(), "kv_head_num = 4\n", "");
  EXPECT_EQ(TurboMindDirectory::open(folder.path()).config().kv_heads, 4);
}

TEST(TurboMindDirectory, AcceptsAnEmbeddingPaddedToTheRanks) {
  const TemporaryFolder folder;
  ModelConfig model = small_model();
  model.stored_ranks = 4;
  write_weights(folder.path(), model);
  const TurboMindDirectory directory = TurboMindDirectory::open(folder.path());
  EXPECT_EQ(directory.embedding_rows(), 52);
  EXPECT_EQ(directory.config().vocab, 50);
}

TEST(TurboMindDirectory, NamesAMissingFileAndItsSize) {
  const TemporaryFolder folder;
  write_weights(folder.path(), small_model());
  std::filesystem::remove(folder.path() / "layers.1.feed_forward.w3.0.weight");
  const std::string message = refusal(folder.path());
  EXPECT_NE(message.find("layers.1.feed_forward.w3.0.weight"), std::string::npos) << message;
  EXPECT_NE(message.find("12288 bytes"), std::string::npos) << message;
}

TEST(TurboMindDirectory, NamesAFileOfTheWrongSizeWithFoundAndExpectedBytes) {
  for (const int64_t change : {-2, 2}) {
    const TemporaryFolder folder;
    write_weights(folder.path(), small_model());
    const auto file = folder.path() / "layers.2.attention.wo.0.weight";
    std::filesystem::resize_file(file, static_cast<uintmax_t>(64 * 64 * 2 + change));
    const std::string message = refusal(folder.path());
    EXPECT_NE(message.find(concat("has ", 64 * 64 * 2 + change, " bytes, expected 8192")),
              std::string::npos)
        << message;
  }
}

TEST(TurboMindDirectory, CountsAllFilesThatAreWrong) {
  const TemporaryFolder folder;
  write_weights(folder.path(), small_model());
  for (int64_t layer = 0; layer < 3; ++layer)
    std::filesystem::remove(folder.path() / concat("layers.", layer, ".ffn_norm.weight"));
  EXPECT_NE(refusal(folder.path()).find("and 2 more files"), std::string::npos);
}

TEST(TurboMindDirectory, LooksForAsManyFilesOnlyAsCanBeMissingByMistake) {
  const TemporaryFolder folder;
  write_weights(folder.path(), small_model());
  replace_in_config(folder.path(), "num_layer = 3", "num_layer = 65536");
  EXPECT_HOLDS(" or more other files)", refusal(folder.path()));
}

TEST(TurboMindDirectory, NamesWhatStandsInTheWeightsPlace) {
  for (const char* name : {"layers.1.ffn_norm.weight", "tok_embeddings.weight", "output.weight"}) {
    const TemporaryFolder folder;
    write_weights(folder.path(), small_model());
    fixture::write_file(folder.path() / name,
                        "version https://git-lfs.github.com/spec/v1\noid sha256:" +
                            std::string(64, 'a') + "\nsize 12345\n");
    EXPECT_HOLDS(concat(name, ": is a Git LFS pointer"), refusal(folder.path()));
    std::filesystem::remove(folder.path() / name);
    std::filesystem::create_directory(folder.path() / name);
    EXPECT_HOLDS(concat(name, ": is a directory, expected a regular file"), refusal(folder.path()));
  }
}

TEST(TurboMindDirectory, WantsTheBiasOfEveryRankWhenAttnBiasIsSet) {
  const TemporaryFolder folder;
  ModelConfig model = small_model();
  model.stored_ranks = 2;
  model.attention_bias = true;
  write_weights(folder.path(), model);
  EXPECT_NO_THROW(TurboMindDirectory::open(folder.path()));
  std::filesystem::remove(folder.path() / "layers.0.attention.wo.1.bias");
  EXPECT_NE(refusal(folder.path()).find("attention.wo.1.bias"), std::string::npos);
}

TEST(TurboMindDirectory, RefusesInt4Weights) {
  const TemporaryFolder folder;
  write_weights(folder.path(), small_model());
  replace_in_config(folder.path(), "weight_type = fp16", "weight_type = int4");
  EXPECT_NE(refusal(folder.path()).find("int4"), std::string::npos);
  replace_in_config(folder.path(), "weight_type = int4", "weight_type = fp16");
  fixture::write_file(folder.path() / "layers.0.attention.w_qkv.0.qweight", "");
  EXPECT_NE(refusal(folder.path()).find("w_qkv.0.qweight: int4"), std::string::npos);
}

TEST(TurboMindDirectory, RefusesAConfigThatContradictsItself) {
  const struct {
    const char *from, *to, *expected;
  } cases[] = {
      {"weight_type = fp16", "weight_type = fp8", "weight_type = fp8, expected fp16 or bf16"},
      {"tensor_para_size = 1", "tensor_para_size = 3", "head_num = 4 is not divisible"},
      {"kv_head_num = 4", "kv_head_num = 3", "not divisible by kv_head_num = 3"},
      {"num_layer = 3", "num_layer = 0", "num_layer = 0"},
      {"rotary_embedding = 16", "rotary_embedding = 8", "partial rotation"},
      {"norm_eps = 1e-05", "norm_eps = 0", "norm_eps"},
      {"num_layer = 3", "num_layer = 100000000000",
       "num_layer = 100000000000, expected a positive"},
      {"head_num = 4", "head_num = 4294967296", "head_num = 4294967296, expected a positive"},
      {"kv_head_num = 4", "kv_head_num = 4611686018427387904", "kv_head_num = 4611686018427387904"},
      {"size_per_head = 16", "size_per_head = 0", "size_per_head = 0, expected"},
      {"tensor_para_size = 1", "tensor_para_size = 1099511627776",
       "tensor_para_size = 1099511627776, expected"},
      {"session_len = 2056", "session_len = -1", "session_len = -1, expected"},
  };
  for (const auto& [from, to, expected] : cases) {
    const TemporaryFolder folder;
    write_weights(folder.path(), small_model());
    replace_in_config(folder.path(), from, to);
    EXPECT_NE(refusal(folder.path()).find(expected), std::string::npos) << refusal(folder.path());
  }
}

TEST(TurboMindDirectory, RefusesAPathThatIsNoDirectory) {
  EXPECT_NE(refusal("/nonexistent/weights").find("not a directory"), std::string::npos);
}

TEST(Fingerprint, IsTheSameHoweverTheModelIsCut) {
  std::string first;
  for (const int64_t ranks : {1, 2, 4}) {
    const TemporaryFolder folder;
    ModelConfig model = small_model();
    model.stored_ranks = ranks;
    model.attention_bias = true;
    write_weights(folder.path(), model);
    const std::string fingerprint = weights_fingerprint(TurboMindDirectory::open(folder.path()));
    if (first.empty()) first = fingerprint;
    EXPECT_EQ(fingerprint, first) << ranks << " ranks";
  }
}

TEST(Fingerprint, ChangesWithAValueOfAnyLayer) {
  const TemporaryFolder folder;
  write_weights(folder.path(), small_model());
  const std::string before = weights_fingerprint(TurboMindDirectory::open(folder.path()));
  {
    std::fstream file(folder.path() / "layers.2.feed_forward.w2.0.weight",
                      std::ios::in | std::ios::out | std::ios::binary);
    file.put('\x55');
  }
  EXPECT_NE(weights_fingerprint(TurboMindDirectory::open(folder.path())), before);
}

}  // namespace
}  // namespace kvcalib
