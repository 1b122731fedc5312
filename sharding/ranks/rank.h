// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

namespace kvcalib {

// No run has more, nor a port a greater number.
inline constexpr int64_t kMostRanks = int64_t{1} << 16;
// Ranks that compute on CPUs share memory, which is laid out for so many.
inline constexpr int64_t kMostCpuRanks = 64;

// Which process of the run this is, as torchrun names it in the environment.
struct Rank {
  int64_t index = 0;        // RANK
  int64_t local_index = 0;  // LOCAL_RANK
  int64_t world = 1;        // WORLD_SIZE
  bool launched = false;    // RANK was set: somebody else started the ranks
  std::string source = {};  // then the variables that say so: "RANK=0, WORLD_SIZE=2"
};

// Reads RANK, LOCAL_RANK and WORLD_SIZE (SLURM_PROCID, SLURM_LOCALID and SLURM_NTASKS where RANK is
// unset and MASTER_ADDR is set).  Throws UsageError when they contradict each other.
Rank rank_from_environment();

// Where the ranks of a run meet.
struct MeetingPlace {
  std::string file;          // KVCALIB_STORE, of ranks that the program started itself; else empty
  std::string address;       // MASTER_ADDR
  uint16_t port = 0;         // MASTER_PORT
  bool served_here = false;  // by this rank; else by another, or by who started the ranks
};

// Throws UsageError when the environment names no place.
MeetingPlace meeting_place(const Rank& rank);

// What a rank that somebody else started waits for, and why, as a line for people: variables may be
// left over of another job.
std::string waiting_line(const Rank& rank, const MeetingPlace& place);

}  // namespace kvcalib
