// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/group_files.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <utility>

#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

const std::string kRequest(64, 'a'), kOther(64, 'b');

class GroupFilesTest : public testing::Test {
 protected:
  GroupFiles files(bool resume = true, const std::string& request = kRequest) const {
    return {output(), request, resume};
  }
  fs::path output() const { return folder_.path() / "report"; }
  fs::path kept() const { return folder_.path() / ".report.kvcalib-groups"; }

  // Groups of trees 0 to 3, 3 to 5 and 5 to 9.
  void keep_three() const {
    const GroupFiles own = files(false);
    own.keep({0, 3}, "first");
    own.keep({3, 5}, std::string("\0second", 7));
    own.keep({5, 9}, "");
  }
  // As "FIRST-LAST:SCORES".
  static std::vector<std::string> found(const GroupFiles& files) {
    std::vector<std::string> groups;
    for (const KeptGroup& group : files.find())
      groups.push_back(concat(group.trees.first, "-", group.trees.last, ":", group.scores));
    return groups;
  }
  static std::string bytes_of(const fs::path& file) {
    std::ostringstream bytes;
    bytes << std::ifstream(file, std::ios::binary).rdbuf();
    return bytes.str();
  }

  const fixture::TemporaryFolder folder_;
  const std::vector<std::string> three_ = {"0-3:first", std::string("3-5:\0second", 11), "5-9:"};
};

TEST_F(GroupFilesTest, AreFoundByTheRunThatGoesOn) {
  EXPECT_TRUE(files().find().empty());
  keep_three();
  EXPECT_EQ(found(files()), three_);
  EXPECT_TRUE(fs::is_regular_file(kept() / "3-5"));
}

TEST_F(GroupFilesTest, AreTakenAwayByARunThatBeginsAnew) {
  keep_three();
  EXPECT_TRUE(files(false).find().empty());
  EXPECT_FALSE(fs::exists(kept()));
}

TEST_F(GroupFilesTest, AreRemovedWhenTheOutputIsWritten) {
  keep_three();
  files().remove();
  EXPECT_FALSE(fs::exists(kept()));
  EXPECT_NO_THROW(files().remove());
}

TEST_F(GroupFilesTest, StandBesideTheOutputHoweverItIsWritten) {
  keep_three();
  for (const fs::path& path :
       {output() / "", output() / ".", output().parent_path() / "x/../report"})
    EXPECT_EQ(found(GroupFiles(path, kRequest, true)), three_) << path;
  EXPECT_TRUE(GroupFiles(folder_.path() / "report2", kRequest, true).find().empty());
}

TEST_F(GroupFilesTest, EndAtAGap) {
  keep_three();
  fs::remove(kept() / "3-5");
  EXPECT_EQ(found(files()), (std::vector<std::string>{"0-3:first"}));
  fs::remove(kept() / "0-3");
  EXPECT_TRUE(files().find().empty());
}

TEST_F(GroupFilesTest, ReplaceWhatWasKeptOfTheSameTrees) {
  keep_three();
  files().keep({0, 3}, "again");
  EXPECT_EQ(found(files()).front(), "0-3:again");
}

TEST_F(GroupFilesTest, OfAnotherRequestAreRefused) {
  keep_three();
  const std::string message = message_of([&] { files(true, kOther).find(); });
  EXPECT_HOLDS((kept() / "0-3").string() + ": was kept of another evaluation", message);
  EXPECT_HOLDS("run without --resume", message);
}

TEST_F(GroupFilesTest, ThatAreDamagedAreRefused) {
  keep_three();
  const fs::path file = kept() / "3-5";
  const std::string whole = bytes_of(file);
  std::vector<std::string> damaged = {whole + "x", std::string(whole)};
  damaged.back().back() ^= 1;
  for (const size_t size : {whole.size() - 1, size_t{130}, size_t{128}, size_t{127}, size_t{0}})
    damaged.push_back(whole.substr(0, size));
  damaged.push_back(whole);
  damaged.back()[64] ^= 1;
  for (const std::string& bytes : damaged) {
    fixture::write_file(file, bytes);
    EXPECT_HOLDS(file.string() + ": is damaged", message_of([&] { files().find(); }));
  }
}

TEST_F(GroupFilesTest, OfOtherTreesThanTheirNameSaysAreRefused) {
  for (const char* name : {"9-13", "9-18"}) {
    keep_three();
    fs::copy(kept() / "5-9", kept() / name);
    EXPECT_HOLDS(concat(name, ": is damaged"), message_of([&] { files().find(); }));
  }
}

TEST_F(GroupFilesTest, HaveNoOtherNames) {
  keep_three();
  fixture::write_file(kept() / "9-12.partial", "no group");
  EXPECT_EQ(found(files()), three_);
  fs::create_directory(kept() / "9-13");
  EXPECT_HOLDS((kept() / "9-13").string() + ": is not kvcalib's",
               message_of([&] { files(false); }));
  fs::remove(kept() / "9-13");
  for (const char* name : {"9", "9-", "-9", "9-9", "9-3", "9-12x", "x9-12", "9--12",
                           "9-99999999999999999999", "notes.txt", "9 -12", ".partial", "answers-",
                           "answers--1", "answers-1x", "answers-99999999999999999999", "answers"}) {
    fixture::write_file(kept() / name, "no group");
    for (const bool resume : {false, true})
      EXPECT_HOLDS((kept() / name).string() + ": is not kvcalib's",
                   message_of([&] { files(resume); }));
    fs::remove(kept() / name);
  }
  EXPECT_EQ(found(files()), three_);
}

TEST_F(GroupFilesTest, AreWrittenOverWhatAKilledRunLeft) {
  keep_three();
  fixture::write_file(kept() / "9-12.partial", "half");
  files().keep({9, 12}, "whole");
  EXPECT_EQ(found(files()).back(), "9-12:whole");
  EXPECT_FALSE(fs::exists(kept() / "9-12.partial"));
}

TEST_F(GroupFilesTest, HoldAnswersBesideGroups) {
  keep_three();
  const std::string content("\0answers", 8);
  files().keep_answers(0, content);
  files().keep_answers(12, "");
  EXPECT_EQ(files().find_answers(0), content);
  EXPECT_EQ(files().find_answers(12), "");
  EXPECT_EQ(files().find_answers(1), std::nullopt);
  EXPECT_EQ(found(files()), three_);
  EXPECT_EQ(files(false).dropped(), 5);
  EXPECT_FALSE(fs::exists(kept()));
  EXPECT_EQ(files().find_answers(0), std::nullopt);
}

TEST_F(GroupFilesTest, RefuseAnswersThatAreDamagedOrOfAnotherRequestOrTask) {
  files().keep_answers(3, "content");
  const fs::path file = kept() / "answers-3";
  const std::string whole = bytes_of(file);
  EXPECT_HOLDS(file.string() + ": was kept of another evaluation",
               message_of([&] { files(true, kOther).find_answers(3); }));
  fs::copy(file, kept() / "answers-4");
  EXPECT_HOLDS("answers-4: is damaged", message_of([&] { files().find_answers(4); }));
  for (const std::string& bytes : {whole + "x", whole.substr(0, 130), std::string()}) {
    fixture::write_file(file, bytes);
    EXPECT_HOLDS(file.string() + ": is damaged", message_of([&] { files().find_answers(3); }));
  }
}

TEST_F(GroupFilesTest, ThatCannotBeKeptAreNamed) {
  fixture::write_file(kept(), "no folder");
  EXPECT_HOLDS(kept().string() + ": cannot be listed", message_of([&] { files(); }));
  fs::remove(kept());
  const GroupFiles own = files();
  fixture::write_file(kept(), "no folder");
  EXPECT_HOLDS((kept() / "0-3").string(), message_of([&] { own.keep({0, 3}, "first"); }));
}

}  // namespace
}  // namespace kvcalib
