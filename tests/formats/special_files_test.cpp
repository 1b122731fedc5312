// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <functional>

#include "sharding/formats/open_weights.h"
#include "sharding/formats/preset.h"
#include "sharding/formats/safetensors_index.h"
#include "sharding/formats/turbomind_directory.h"
#include "tests/hugging_face_fixture.h"
#include "tests/message_of.h"

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

TEST_F(SpecialFiles, AreNamedWhereTheyArePointersOfGitLfs) {
  const auto expect_named = [&](const char* name, const std::function<void(const path&)>& read) {
    fixture::write_file(folder_.path() / name,
                        "version https://git-lfs.github.com/spec/v1\noid sha256:" +
                            std::string(64, 'a') + "\nsize 12345\n");
    EXPECT_HOLDS(concat(name, ": is a Git LFS pointer"),
                 message_of([&] { read(folder_.path() / name); }));
    std::filesystem::remove(folder_.path() / name);
  };
  const auto open = [](const path& file) { open_weights(file.parent_path()); };
  const auto index = [](const path& file) { read_safetensors_index(file.parent_path()); };
  expect_named("config.ini", open);
  expect_named("config.json", open);
  expect_named("preset.json", [](const path& file) { read_preset(file); });
  expect_named("model.safetensors.index.json", index);
  expect_named("model.safetensors", index);
}

TEST_F(SpecialFiles, AreNamedWhereTheSystemCannotLookBehindALink) {
  const auto expect_named = [&](const char* name, const std::function<void()>& read) {
    const path link = folder_.path() / name;
    std::filesystem::remove(link);
    std::filesystem::create_symlink(link, link);
    const std::string message = message_of(read);
    EXPECT_HOLDS(concat(name, ": cannot be "), message);
    EXPECT_HOLDS(": Too many levels of symbolic links", message);
    std::filesystem::remove(link);
  };
  const auto read_index = [&] { read_safetensors_index(folder_.path()); };
  const auto open = [&] { open_weights(folder_.path()); };
  expect_named("model.safetensors.index.json", read_index);
  expect_named("model.safetensors", read_index);
  expect_named("adapter_config.json", open);
  expect_named("adapter_model.bin", open);
  expect_named("weights", [&] { TurboMindDirectory::open(folder_.path() / "weights"); });
  fixture::write_hugging_face(folder_.path(), fixture::small_model());
  expect_named("adapter_config.json", open);
  expect_named("adapter_model.safetensors", open);
  fixture::write_file(folder_.path() / "model.safetensors.index.json",
                      R"({"weight_map": {"a": "model.safetensors"}})");
  expect_named("model.safetensors", read_index);
}

}  // namespace
}  // namespace kvcalib
