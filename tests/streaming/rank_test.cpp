// SPDX-License-Identifier: Apache-2.0
#include "sharding/rank.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "tests/message_of.h"

namespace kvcalib {
namespace {

void clear_launcher_variables() {
  for (const char* name : {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "SLURM_PROCID",
                           "SLURM_LOCALID", "SLURM_NTASKS"})
    unsetenv(name);
}

using Variables = std::map<std::string, std::string>;

// An environment in which only the given variables of a launcher are set.
class LauncherEnvironment {
 public:
  explicit LauncherEnvironment(const Variables& variables) {
    clear_launcher_variables();
    for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
  }
  ~LauncherEnvironment() { clear_launcher_variables(); }
};

TEST(Rank, IsTheOnlyOneWhereNobodyLaunchedIt) {
  const LauncherEnvironment environment(Variables{{"LOCAL_RANK", "3"}});
  const Rank rank = rank_from_environment();
  EXPECT_EQ(rank.world, 1);
  EXPECT_FALSE(rank.launched);
}

TEST(Rank, IsReadAsTorchrunSetsIt) {
  const LauncherEnvironment environment({{"RANK", "5"}, {"LOCAL_RANK", "1"}, {"WORLD_SIZE", "8"}});
  const Rank rank = rank_from_environment();
  EXPECT_EQ(rank.index, 5);
  EXPECT_EQ(rank.local_index, 1);
  EXPECT_EQ(rank.world, 8);
  EXPECT_TRUE(rank.launched);
}

TEST(Rank, IsReadFromSlurmWhereAMasterIsNamed) {
  const LauncherEnvironment environment({{"MASTER_ADDR", "10.0.0.1"},
                                         {"SLURM_PROCID", "2"},
                                         {"SLURM_LOCALID", "0"},
                                         {"SLURM_NTASKS", "4"}});
  EXPECT_EQ(rank_from_environment().index, 2);
  EXPECT_EQ(rank_from_environment().world, 4);
}

TEST(Rank, RefusesVariablesThatContradictEachOther) {
  {
    const LauncherEnvironment environment({{"RANK", "8"}, {"WORLD_SIZE", "8"}});
    EXPECT_HOLDS("RANK=8 is not below WORLD_SIZE=8", message_of([] { rank_from_environment(); }));
  }
  {
    const LauncherEnvironment environment(Variables{{"RANK", "0"}});
    EXPECT_HOLDS("WORLD_SIZE", message_of([] { rank_from_environment(); }));
  }
  {
    const LauncherEnvironment environment({{"RANK", "x"}, {"WORLD_SIZE", "2"}});
    EXPECT_HOLDS("RANK=x", message_of([] { rank_from_environment(); }));
  }
}

}  // namespace
}  // namespace kvcalib
