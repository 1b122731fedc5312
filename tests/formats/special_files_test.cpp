// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "sharding/formats/open_weights.h"
#include "sharding/formats/preset.h"
#include "sharding/formats/safetensors_index.h"
#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

using std::filesystem::path;

// A named pipe that nobody writes to, a device without an end and a directory in a file's place.
class SpecialFiles : public testing::Test {
 protected:
  void expect_refused(const char* name, const std::function<void(const path&)>& read) {
    const path file = folder_.path() / name;
    ASSERT_EQ(mkfifo(file.c_str(), 0600), 0);
    EXPECT_HOLDS(concat(name, ": is a named pipe, expected a regular file"),
                 message_of([&] { read(file); }));
    std::filesystem::remove(file);
    std::filesystem::create_symlink("/dev/zero", file);
    EXPECT_HOLDS(concat(name, ": is a device, expected a regular file"),
                 message_of([&] { read(file); }));
    std::filesystem::remove(file);
    std::filesystem::create_directory(file);
    EXPECT_HOLDS(concat(name, ": is a directory, expected a regular file"),
                 message_of([&] { read(file); }));
    std::filesystem::remove(file);
  }

  fixture::TemporaryFolder folder_;
};

TEST_F(SpecialFiles, AreRefusedInThePlaceOfWhatDescribesAModel) {
  const auto open = [](const path& file) { open_weights(file.parent_path()); };
  expect_refused("config.ini", open);
  expect_refused("config.json", open);
  expect_refused("preset.json", [](const path& file) { read_preset(file); });
  expect_refused("model.safetensors.index.json",
                 [](const path& file) { read_safetensors_index(file.parent_path()); });
}

}  // namespace
}  // namespace kvcalib
