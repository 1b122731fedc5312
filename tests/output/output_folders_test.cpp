// SPDX-License-Identifier: Apache-2.0
#include "calibrate/output/output_folders.h"

#include <gtest/gtest.h>

#include "tests/message_of.h"
#include "tests/output/output_folder.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

class OutputFoldersTest : public testing::Test {
 protected:
  OutputFolders open(bool force = false) {
    return OutputFolders(place_, force,
                         foreign_to_folders({{"one", set_names()}, {"other", set_names()}}));
  }

  OutputFolder folder_;
  fs::path place_ = folder_.path() / "results";
};

TEST_F(OutputFoldersTest, AppearTogetherOrNotAtAll) {
  {
    OutputFolders output = open();
    output.write("one/config", std::string_view("1"));
  }
  EXPECT_FALSE(fs::exists(place_));
  OutputFolders output = open();
  output.write("one/config", std::string_view("1"));
  output.write("other/config", std::string_view("2"));
  output.write("one/summary", std::string_view("3"));
  EXPECT_FALSE(fs::exists(place_));
  output.commit();
  EXPECT_EQ(visible(place_ / "one"), (Files{{"config", "1"}, {"summary", "3"}}));
  EXPECT_EQ(visible(place_ / "other"), (Files{{"config", "2"}}));
}

TEST_F(OutputFoldersTest, ReplaceOnlyWhatIsTheirs) {
  {
    OutputFolders output = open();
    output.write("one/config", std::string_view("1"));
    output.commit();
  }
  EXPECT_HOLDS("--force", message_of([&] { open(); }));
  put(place_ / "one", {{"mine", "?"}});
  EXPECT_HOLDS("holds 'one/mine'", message_of([&] { open(true); }));
  fs::rename(place_ / "one" / "mine", place_ / "mine");
  EXPECT_HOLDS("holds 'mine'", message_of([&] { open(true); }));
  fs::remove(place_ / "mine");
  put(place_, {{"other", "a file"}});
  EXPECT_HOLDS("holds 'other'", message_of([&] { open(true); }));
  fs::remove(place_ / "other");
  OutputFolders output = open(true);
  output.write("other/config", std::string_view("2"));
  output.commit();
  EXPECT_FALSE(fs::exists(place_ / "one"));
  EXPECT_EQ(visible(place_ / "other"), (Files{{"config", "2"}}));
}

TEST_F(OutputFoldersTest, KeepToTheirFolders) {
  OutputFolders output = open();
  for (const char* const name :
       {"config", "../config", "one/../config", "one/two/config", "/config"})
    EXPECT_NE(message_of([&] { output.write(name, std::string_view("1")); }), "nothing was thrown")
        << name;
}

}  // namespace
}  // namespace kvcalib
