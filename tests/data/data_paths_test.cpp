// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "calibrate/data/windows.h"
#include "tests/data/data_fixture.h"

namespace kvcalib {
namespace {

using namespace fixture;
using std::filesystem::path;

class DataPaths : public testing::Test {
 protected:
  DataPaths() {
    for (const char* name : {"b.jsonl", "a.jsonl", "c.txt", "ids.npy", "notes.md"})
      write(in(name), "x");
  }
  path in(const std::string& name) const { return folder_.path() / name; }
  std::vector<path> expand(const std::vector<std::string>& names) const {
    std::vector<std::string> patterns;
    for (const std::string& name : names) patterns.push_back(in(name).string());
    return expand_data_paths(patterns);
  }
  std::string refusal(const std::vector<std::string>& names) const {
    return message_of([&] { expand(names); });
  }

  TemporaryFolder folder_;
};

TEST_F(DataPaths, KeepTheOrderOfNamesAndSortTheMatchesOfEach) {
  EXPECT_EQ(expand({"c.txt", "*.jsonl"}),
            (std::vector<path>{in("c.txt"), in("a.jsonl"), in("b.jsonl")}));
  EXPECT_EQ(expand({"[ab].jsonl", "i?s.npy"}),
            (std::vector<path>{in("a.jsonl"), in("b.jsonl"), in("ids.npy")}));
}

TEST_F(DataPaths, MayHoldTheCharactersOfAPattern) {
  write(in("part[1].jsonl"), "x");
  EXPECT_EQ(expand({"part[1].jsonl"}), std::vector<path>{in("part[1].jsonl")});
}

TEST_F(DataPaths, LeaveOutTheOffsetsThatBelongToIds) {
  write(in("ids.offsets.npy"), "x");
  write(in("other.offsets.npy"), "x");
  EXPECT_EQ(expand({"*.npy"}), (std::vector<path>{in("ids.npy"), in("other.offsets.npy")}));
  EXPECT_HOLDS("ids.offsets.npy: holds where documents begin; name the ids",
               refusal({"ids.offsets.npy"}));
  EXPECT_HOLDS("i*.offsets.npy: holds where documents begin; name the ids",
               refusal({"i*.offsets.npy"}));
}

TEST_F(DataPaths, FollowLinks) {
  std::filesystem::create_symlink("a.jsonl", in("link.jsonl"));
  EXPECT_EQ(expand({"link.jsonl"}), std::vector<path>{in("link.jsonl")});
}

TEST_F(DataPaths, MustBeThere) {
  EXPECT_HOLDS("none.jsonl: no such file", refusal({"a.jsonl", "none.jsonl"}));
  EXPECT_HOLDS("*.json: no such file", refusal({"*.json"}));
  std::filesystem::create_symlink("nowhere", in("broken.jsonl"));
  EXPECT_NE(refusal({"broken.jsonl"}), "nothing was thrown");
}

TEST_F(DataPaths, MustBeFilesOfAKnownForm) {
  std::filesystem::create_directory(in("folder.json"));
  EXPECT_HOLDS("folder.json: is a directory; name the files in it", refusal({"folder.json"}));
  EXPECT_HOLDS("notes.md: has the unknown extension '.md'; expected .jsonl, .json, .txt",
               refusal({"n*"}));
  EXPECT_HOLDS("/dev/null: is not a file", message_of([] { expand_data_paths({"/dev/null"}); }));
}

TEST_F(DataPaths, MayNotNameAFileTwice) {
  EXPECT_HOLDS("a.jsonl: is named twice", refusal({"*.jsonl", "a.jsonl"}));
}

TEST_F(DataPaths, NeedATokenizerUnlessAllAreTokenIds) {
  EXPECT_FALSE(needs_tokenizer({"a.npy", "b.npy"}));
  EXPECT_TRUE(needs_tokenizer({"a.npy", "b.json.gz"}));
  EXPECT_TRUE(needs_tokenizer({"a.txt"}));
}

}  // namespace
}  // namespace kvcalib
