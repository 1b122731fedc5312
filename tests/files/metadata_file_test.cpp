// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/metadata_file.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "sharding/files/ini_file.h"
#include "sharding/files/json_object.h"
#include "sharding/files/ranged_file.h"
#include "sharding/files/safetensors.h"
#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

using std::filesystem::path;

constexpr const char* kPointer =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

class MetadataFile : public testing::Test {
 protected:
  path in_folder(const char* name) const { return folder_.path() / name; }
  static std::string refusal(const path& file) {
    return message_of([&] { read_metadata_file(file); });
  }

  fixture::TemporaryFolder folder_;
};

TEST_F(MetadataFile, IsReadWhole) {
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{65536}, size_t{65537}, size_t{300000}}) {
    fixture::write_file(in_folder("file"), std::string(bytes, 'x'));
    EXPECT_EQ(read_metadata_file(in_folder("file")), std::string(bytes, 'x'));
  }
  EXPECT_NE(read_metadata_file("/proc/self/status").find("VmPeak"), std::string::npos)
      << "a file that states no size";
}

TEST_F(MetadataFile, IsNeverWaitedFor) {
  ASSERT_EQ(mkfifo(in_folder("pipe").c_str(), 0600), 0);
  const std::string named_pipe = "pipe: is a named pipe, expected a regular file";
  EXPECT_HOLDS(named_pipe, refusal(in_folder("pipe")));
  EXPECT_HOLDS(named_pipe, message_of([&] { IniFile::read(in_folder("pipe")); }));
  EXPECT_HOLDS(named_pipe, message_of([&] { JsonObject::read(in_folder("pipe")); }));
  EXPECT_HOLDS(named_pipe, message_of([&] { Safetensors::read(in_folder("pipe")); }));
  EXPECT_HOLDS(named_pipe, message_of([&] { RangedFile file(in_folder("pipe")); }));
}

TEST_F(MetadataFile, IsARegularFile) {
  EXPECT_HOLDS("/dev/zero: is a device, expected a regular file", refusal("/dev/zero"));
  EXPECT_HOLDS("is a directory, expected a regular file", refusal(folder_.path()));
  EXPECT_HOLDS("nobody: cannot be read: No such file", refusal(in_folder("nobody")));

  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  in_folder("socket").string().copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  EXPECT_HOLDS("socket: is a socket, expected a regular file", refusal(in_folder("socket")));
  close(socket);
}

TEST_F(MetadataFile, IsOfASaneSize) {
  fixture::write_file(in_folder("file"), "12345");
  EXPECT_EQ(read_metadata_file(in_folder("file"), 5), "12345");
  EXPECT_HOLDS("file: has 5 bytes or more, expected at most 4",
               message_of([&] { read_metadata_file(in_folder("file"), 4); }));
  std::filesystem::resize_file(in_folder("file"), uint64_t{1} << 40);
  EXPECT_HOLDS("has 1099511627776 bytes or more, expected at most 268435456",
               refusal(in_folder("file")));
  EXPECT_HOLDS("expected at most 16",
               message_of([&] { read_metadata_file("/proc/self/status", 16); }));
}

TEST_F(MetadataFile, IsNoPointerOfGitLfs) {
  fixture::write_file(in_folder("file"), kPointer);
  const std::string pointer = "file: is a Git LFS pointer, which stands for the file that was not ";
  EXPECT_HOLDS(pointer, refusal(in_folder("file")));
  EXPECT_HOLDS(pointer, message_of([&] { RangedFile file(in_folder("file")); }));
  fixture::write_file(in_folder("file"), std::string(kPointer).substr(1));
  EXPECT_EQ(read_metadata_file(in_folder("file")), std::string(kPointer).substr(1));
}

}  // namespace
}  // namespace kvcalib
