// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/new_file.h"

#include <gtest/gtest.h>

#include "sharding/files/metadata_file.h"
#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

TEST(NewFile, HoldsWhatWasAppendedFromFrontToEnd) {
  const fixture::TemporaryFolder folder;
  const std::string large(100'000, 'x');
  NewFile file(folder.path() / "file");
  for (const std::string& piece : {std::string("ab"), std::string(), large, std::string("c")})
    file.append(piece);
  file.finish();
  EXPECT_EQ(read_metadata_file(folder.path() / "file"), "ab" + large + "c");
}

TEST(NewFile, TakesNobodyElsesPlace) {
  const fixture::TemporaryFolder folder;
  fixture::write_file(folder.path() / "file", "theirs");
  EXPECT_HOLDS("file: cannot be created: File exists",
               message_of([&] { NewFile file(folder.path() / "file"); }));
  EXPECT_EQ(read_metadata_file(folder.path() / "file"), "theirs");
}

TEST(NewFile, NamesAPlaceThatIsNone) {
  const fixture::TemporaryFolder folder;
  EXPECT_HOLDS("cannot be created: No such file or directory",
               message_of([&] { NewFile file(folder.path() / "nowhere/file"); }));
}

}  // namespace
}  // namespace kvcalib
