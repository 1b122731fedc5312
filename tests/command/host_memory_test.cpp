// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/host_memory.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

constexpr uint64_t kKiB = 1024;

// A machine of 1000 KiB of which 600 are available, and the control groups that a test adds.
class HostMemoryTest : public testing::Test {
 protected:
  HostMemoryTest() {
    write("proc/meminfo", "MemTotal:  1000 kB\nMemFree:  5 kB\nMemAvailable:  600 kB\n");
  }

  void write(const std::string& name, const std::string& text) {
    const std::filesystem::path file = folder_.path() / name;
    create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void group_of_version_2(const std::string& group, const std::string& limit, uint64_t usage,
                          uint64_t file_pages) {
    const std::string folder = concat("sys/fs/cgroup", group, "/");
    write(folder + "memory.max", limit + "\n");
    write(folder + "memory.current", std::to_string(usage) + "\n");
    write(folder + "memory.stat",
          concat("anon 7\nactive_file ", file_pages, "\ninactive_file 0\nslab 9\n"));
  }
  std::optional<HostMemory> found() const { return host_memory(folder_.path()); }
  std::string path_of(const std::string& name) const { return (folder_.path() / name).string(); }

  const fixture::TemporaryFolder folder_;
};

TEST_F(HostMemoryTest, IsWhatTheMachineHasAvailable) {
  const HostMemory machine{600 * kKiB, 1000 * kKiB, "MemAvailable"};
  EXPECT_EQ(found(), machine);
  write("proc/self/cgroup", "0::/\n");
  EXPECT_EQ(found(), machine);
  group_of_version_2("", "max", 300, 0);
  EXPECT_EQ(found(), machine);
}

TEST_F(HostMemoryTest, IsWhatTheControlGroupLeavesWithoutPagesOfFiles) {
  write("proc/self/cgroup", "0::/service\n");
  group_of_version_2("/service", "90000", 50000, 20000);
  EXPECT_EQ(found(), (HostMemory{60000, 90000, path_of("sys/fs/cgroup/service/memory.max")}));
}

TEST_F(HostMemoryTest, IsTheLeastThatAGroupAboveLeaves) {
  write("proc/self/cgroup", "0::/user/session\n");
  group_of_version_2("/user/session", "max", 1000, 0);
  group_of_version_2("/user", "40000", 39000, 0);
  group_of_version_2("", "80000", 50000, 0);
  EXPECT_EQ(found(), (HostMemory{1000, 40000, path_of("sys/fs/cgroup/user/memory.max")}));
}

TEST_F(HostMemoryTest, IsReadFromVersion1AlsoWhereOnlyTheContainersOwnGroupIsThere) {
  write("proc/self/cgroup", "9:name=systemd:/\n4:cpuset,memory:/docker/3f2a\n0::/\n");
  const std::string folder = "sys/fs/cgroup/memory/";
  write(folder + "memory.limit_in_bytes", "70000\n");
  write(folder + "memory.usage_in_bytes", "65000\n");
  write(folder + "memory.stat", "active_file 1\ntotal_active_file 100\ntotal_inactive_file 900\n");
  EXPECT_EQ(found(), (HostMemory{6000, 70000, path_of(folder + "memory.limit_in_bytes")}));
}

TEST_F(HostMemoryTest, IsNoneInAGroupThatHoldsMoreThanItMay) {
  write("proc/self/cgroup", "0::/\n");
  group_of_version_2("", "40000", 50000, 0);
  EXPECT_EQ(found(), (HostMemory{0, 40000, path_of("sys/fs/cgroup/memory.max")}));
}

TEST_F(HostMemoryTest, IsNotKnownWhereTheSystemDoesNotSay) {
  write("proc/meminfo", "MemTotal:  1000 kB\n");
  EXPECT_EQ(found(), std::nullopt);
}

}  // namespace
}  // namespace kvcalib
