// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/safetensors_index.h"

#include <gtest/gtest.h>

#include "sharding/files/error.h"
#include "sharding/files/safetensors.h"
#include "tests/message_of.h"
#include "tests/safetensors_bytes.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

using fixture::TemporaryFolder;
using fixture::write_file;

constexpr const char* kIndex = "model.safetensors.index.json";

std::string bytes_of(const std::vector<std::string>& tensors) {
  Safetensors file;
  for (const std::string& name : tensors) file.tensors[name] = {"F16", {2, 3}, "abcdefghijkl"};
  return safetensors_bytes(file);
}

// A file with this header, whatever it says, and `data_bytes` bytes of data.
std::string file_of(const std::string& header, size_t data_bytes) {
  std::string bytes(8, '\0');
  for (size_t i = 0; i < 8; ++i) bytes[i] = static_cast<char>(header.size() >> (8 * i));
  return bytes + header + std::string(data_bytes, 'x');
}

std::string refusal(const TemporaryFolder& folder) {
  return message_of([&] { read_safetensors_index(folder.path()); });
}

std::string refusal_of_file(const std::string& bytes) {
  const TemporaryFolder folder;
  write_file(folder.path() / "model.safetensors", bytes);
  return refusal(folder);
}

TEST(SafetensorsIndex, FindsTensorsWithAndWithoutAnIndexFile) {
  const TemporaryFolder folder;
  const std::string first = bytes_of({"a", "b"}), second = bytes_of({"c"});
  write_file(folder.path() / "model-00001-of-00002.safetensors", first);
  write_file(folder.path() / "model-00002-of-00002.safetensors", second);
  write_file(folder.path() / "consolidated.safetensors", "not looked at");
  for (const bool with_index : {false, true}) {
    if (with_index)
      write_file(folder.path() / kIndex, R"({"weight_map":{"a":"model-00001-of-00002.safetensors",
        "b":"model-00001-of-00002.safetensors","c":"model-00002-of-00002.safetensors"}})");
    const SafetensorsIndex index = read_safetensors_index(folder.path());
    ASSERT_EQ(index.tensors.size(), 3u);
    EXPECT_TRUE(index.warnings.empty());
    const TensorPlace& b = index.tensors.at("b");
    EXPECT_EQ(b.file, folder.path() / "model-00001-of-00002.safetensors");
    EXPECT_EQ(b.offset, first.size() - 12);
    EXPECT_EQ(b.bytes, 12u);
    EXPECT_EQ(b.dtype, "F16");
    EXPECT_EQ(b.shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(index.tensors.at("c").offset, second.size() - 12);
  }
}

TEST(SafetensorsIndex, IsEmptyWhereThereAreNoFiles) {
  const TemporaryFolder folder;
  write_file(folder.path() / kIndex, R"({"weight_map":{}})");
  EXPECT_TRUE(read_safetensors_index(folder.path()).tensors.empty());
}

TEST(SafetensorsIndex, RefusesAHeaderThatIsCutTooLongOrNoJson) {
  EXPECT_HOLDS("model.safetensors: has 5 bytes, too short", refusal_of_file("abcde"));
  EXPECT_HOLDS("has 0 bytes, too short", refusal_of_file(""));
  EXPECT_HOLDS("states a header of 1000 bytes, but only 2 follow",
               refusal_of_file(std::string("\xe8\x03\0\0\0\0\0\0{}", 10)));
  EXPECT_HOLDS("states a header of 18446744073709551615 bytes",
               refusal_of_file(std::string(8, '\xff') + "{}"));
  EXPECT_HOLDS("the header: is not JSON, at byte 6", refusal_of_file(file_of("{\"a\":", 0)));
}

TEST(SafetensorsIndex, RefusesAHeaderOverTheLimitOfTheFormat) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "model.safetensors";
  write_file(file, std::string("\x01\xe1\xf5\x05\0\0\0\0", 8));
  std::filesystem::resize_file(file, 200'000'000);  // sparse
  EXPECT_HOLDS("states a header of 100000001 bytes, expected at most 100000000", refusal(folder));
}

TEST(SafetensorsIndex, RefusesRangesThatAreNotTheFiles) {
  const auto one = [](const std::string& shape, const std::string& offsets, size_t bytes) {
    return refusal_of_file(file_of(
        R"({"a":{"dtype":"F16","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}", bytes));
  };
  EXPECT_HOLDS("tensor 'a' is not described", one("[2]", "[-4,0]", 4));
  EXPECT_HOLDS("tensor 'a' is not described", one("[2]", "[0,4.5]", 4));
  EXPECT_HOLDS("tensor 'a' lies at bytes 4 to 0", one("[2]", "[4,0]", 4));
  EXPECT_HOLDS("tensor 'a' lies at bytes 0 to 4 of the data, which has 3", one("[2]", "[0,4]", 3));
  EXPECT_HOLDS("tensor 'a' has 4 bytes, its shape needs 6", one("[3]", "[0,4]", 4));
  EXPECT_HOLDS("tensor 'a' begins at byte 2, behind unclaimed bytes", one("[1]", "[2,4]", 4));
  EXPECT_HOLDS("the tensors end at byte 4 of the data, which has 6", one("[2]", "[0,4]", 6));
  EXPECT_HOLDS("tensor 'b' begins at byte 2, inside another tensor",
               refusal_of_file(file_of(R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},
                 "b":{"dtype":"F16","shape":[1],"data_offsets":[2,4]}})",
                                       4)));
}

TEST(SafetensorsIndex, RefusesATensorInTwoFiles) {
  const TemporaryFolder folder;
  write_file(folder.path() / "model-00001-of-00002.safetensors", bytes_of({"a", "b"}));
  write_file(folder.path() / "model.safetensors", bytes_of({"b"}));
  EXPECT_HOLDS("model.safetensors: tensor 'b' is in model-00001-of-00002.safetensors too",
               refusal(folder));
}

// All warnings of a directory, end to end.
std::string warnings_of(const TemporaryFolder& folder) {
  std::string all;
  const SafetensorsIndex index = read_safetensors_index(folder.path());
  for (const std::string& warning : index.warnings) all += warning + "\n";
  return all;
}

TEST(SafetensorsIndex, TakesATensorFromWhereTheIndexSays) {
  const TemporaryFolder folder;
  write_file(folder.path() / "model-1.safetensors", bytes_of({"a", "b", "unlisted"}));
  write_file(folder.path() / "model-2.safetensors", bytes_of({"a", "b"}));
  write_file(folder.path() / kIndex,
             R"({"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})");
  const SafetensorsIndex index = read_safetensors_index(folder.path());
  EXPECT_EQ(index.tensors.at("a").file.filename(), "model-1.safetensors");
  EXPECT_EQ(index.tensors.at("b").file.filename(), "model-2.safetensors");
  EXPECT_EQ(index.tensors.at("unlisted").file.filename(), "model-1.safetensors");
  EXPECT_TRUE(index.warnings.empty());
  write_file(folder.path() / "model-2.safetensors", bytes_of({"b", "unlisted"}));
  EXPECT_HOLDS("tensor 'unlisted' is in model-1.safetensors too, and no index says which",
               refusal(folder));
}

TEST(SafetensorsIndex, WarnsOfShardsBesideThoseOfTheIndex) {
  const TemporaryFolder folder;  // two splits of one model
  write_file(folder.path() / "model-00001-of-00001.safetensors", bytes_of({"a", "b"}));
  write_file(folder.path() / "model-00001-of-00002.safetensors", bytes_of({"a"}));
  write_file(folder.path() / "model-00002-of-00002.safetensors", "not looked at");
  write_file(folder.path() / kIndex, R"({"weight_map":{"a":"model-00001-of-00001.safetensors",
    "b":"model-00001-of-00001.safetensors"}})");
  const SafetensorsIndex index = read_safetensors_index(folder.path());
  EXPECT_EQ(index.tensors.at("a").file.filename(), "model-00001-of-00001.safetensors");
  EXPECT_EQ(index.warnings.size(), 2u);
  for (const char* const name :
       {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"})
    EXPECT_HOLDS(concat(name, ": is not read, ", kIndex, " does not name it"), warnings_of(folder));
}

TEST(SafetensorsIndex, RefusesAWholeModelBesideAnIndexOfAnother) {
  const TemporaryFolder folder;
  write_file(folder.path() / "model-1.safetensors", bytes_of({"a"}));
  write_file(folder.path() / "model.safetensors", bytes_of({"b"}));
  write_file(folder.path() / kIndex, R"({"weight_map":{"a":"model-1.safetensors"}})");
  EXPECT_HOLDS("model.safetensors: lies beside model.safetensors.index.json, which does not name",
               refusal(folder));
  write_file(folder.path() / kIndex,
             R"({"weight_map":{"a":"model-1.safetensors","b":"model.safetensors"}})");
  EXPECT_EQ(read_safetensors_index(folder.path()).tensors.size(), 2u);
}

TEST(SafetensorsIndex, RefusesAnIndexThatIsNotTheFiles) {
  const TemporaryFolder folder;
  write_file(folder.path() / "model-1.safetensors", bytes_of({"a"}));
  write_file(folder.path() / "model-2.safetensors", bytes_of({"b"}));
  const auto with_index = [&](const std::string& text) {
    write_file(folder.path() / kIndex, text);
    return refusal(folder);
  };
  EXPECT_HOLDS("has no weight_map", with_index("{}"));
  EXPECT_HOLDS("expected the name of a file beside the index",
               with_index("{\"weight_map\":{\"a\":\"" + std::string(1000, 'm') + "\"}}"));
  EXPECT_HOLDS("is not JSON, at byte 9", with_index("{\"weight"));
  EXPECT_HOLDS(
      "names model-3.safetensors, which is no file here; get it, it holds tensor 'c'",
      with_index(R"({"weight_map":{"a":"model-1.safetensors","c":"model-3.safetensors"}})"));
  EXPECT_HOLDS(
      "model-1.safetensors: has no tensor 'c'",
      with_index(R"({"weight_map":{"a":"model-1.safetensors","c":"model-1.safetensors"}})"));
  EXPECT_HOLDS("model-2.safetensors: has no tensor 'a'",
               with_index(R"({"weight_map":{"a":"model-2.safetensors"}})"));
  write_file(folder.path() / kIndex, R"({"weight_map":{}})");
  EXPECT_TRUE(read_safetensors_index(folder.path()).tensors.empty());
  EXPECT_HOLDS("tensor 'a' lies in \"../x.safetensors\", expected the name of a file",
               with_index(R"({"weight_map":{"a":"../x.safetensors"}})"));
  EXPECT_HOLDS("tensor 'a' lies in 3, expected", with_index(R"({"weight_map":{"a":3}})"));
}

}  // namespace
}  // namespace kvcalib
