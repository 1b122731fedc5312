// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/rank.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "sharding/ranks/local_store.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

void clear_launcher_variables() {
  for (const char* name :
       {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "SLURM_PROCID", "SLURM_LOCALID",
        "SLURM_NTASKS", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE", LocalStore::kVariable})
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

TEST(Rank, RefusesNumbersThatNoRunHas) {
  for (const char* world : {"9223372036854775807", "99999999999999999999", "65537", "-1", "two"}) {
    const LauncherEnvironment environment({{"RANK", "0"}, {"WORLD_SIZE", world}});
    EXPECT_HOLDS(
        "environment WORLD_SIZE=" + std::string(world) + ": expected a number of at most 65536",
        message_of([] { rank_from_environment(); }));
  }
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

TEST(MeetingPlace, IsServedByTheFirstRankUnlessAnAgentDoes) {
  const Rank first{0, 0, 2, true}, second{1, 1, 2, true};
  {
    const LauncherEnvironment environment({{"MASTER_ADDR", "node7"}, {"MASTER_PORT", "29500"}});
    EXPECT_EQ(meeting_place(first).address, "node7");
    EXPECT_EQ(meeting_place(first).port, 29500);
    EXPECT_TRUE(meeting_place(first).served_here);
    EXPECT_FALSE(meeting_place(second).served_here);
  }
  {
    const LauncherEnvironment environment({{"MASTER_ADDR", "node7"},
                                           {"MASTER_PORT", "29500"},
                                           {"TORCHELASTIC_USE_AGENT_STORE", "True"}});
    EXPECT_FALSE(meeting_place(first).served_here);
  }
}

TEST(MeetingPlace, OfRanksThatTheProgramStartedIsItsFile) {
  const LauncherEnvironment environment({{"MASTER_ADDR", "node7"},
                                         {"MASTER_PORT", "29500"},
                                         {LocalStore::kVariable, "/proc/self/fd/9"}});
  EXPECT_EQ(meeting_place({0, 0, 2, true}).file, "/proc/self/fd/9");
  EXPECT_FALSE(meeting_place({0, 0, 2, true}).served_here);
}

TEST(Rank, SaysWhichVariablesMakeItWaitAndForWhom) {
  {
    const LauncherEnvironment environment(
        {{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "node7"}, {"MASTER_PORT", "29500"}});
    const Rank rank = rank_from_environment();
    EXPECT_EQ(
        waiting_line(rank, meeting_place(rank)),
        "kvcalib: RANK=0, WORLD_SIZE=2 in the environment: rank 0 of 2, waiting for rank 1 at "
        "MASTER_ADDR:MASTER_PORT node7:29500; unset the variables for a run of its own");
  }
  {
    const LauncherEnvironment environment({{"SLURM_PROCID", "2"},
                                           {"SLURM_NTASKS", "4"},
                                           {"MASTER_ADDR", "node7"},
                                           {"MASTER_PORT", "29500"}});
    const Rank rank = rank_from_environment();
    EXPECT_HOLDS(
        "SLURM_PROCID=2, SLURM_NTASKS=4 in the environment: rank 2 of 4, waiting for the other 3 "
        "ranks at",
        waiting_line(rank, meeting_place(rank)));
  }
}

TEST(MeetingPlace, IsRefusedWhereItIsNone) {
  const Rank rank{0, 0, 2, true};
  {
    const LauncherEnvironment environment(Variables{{"MASTER_PORT", "29500"}});
    EXPECT_HOLDS("MASTER_ADDR is not", message_of([&] { meeting_place(rank); }));
  }
  for (const char* port : {"0", "65536", "http"}) {
    const LauncherEnvironment environment({{"MASTER_ADDR", "node7"}, {"MASTER_PORT", port}});
    EXPECT_HOLDS(concat("MASTER_PORT=", port), message_of([&] { meeting_place(rank); }));
  }
}

}  // namespace
}  // namespace kvcalib
