// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace c10d {
class Store;
}

namespace kvcalib {

// Which process of the run this is, as torchrun names it in the environment.
struct Rank {
  int64_t index = 0;        // RANK
  int64_t local_index = 0;  // LOCAL_RANK
  int64_t world = 1;        // WORLD_SIZE
  bool launched = false;    // RANK was set: somebody else started the ranks
};

// Reads RANK, LOCAL_RANK and WORLD_SIZE (SLURM_PROCID, SLURM_LOCALID and SLURM_NTASKS where RANK is
// unset and MASTER_ADDR is set).  Throws UsageError when they contradict each other.
Rank rank_from_environment();

// A peer ended before it had done its part: its own message is the one worth reading.
class PeerLost : public std::exception {
 public:
  explicit PeerLost(std::string what) : what_(std::move(what)) {}
  const char* what() const noexcept override { return what_.c_str(); }

 private:
  std::string what_;
};

// The place where the ranks of a run meet: small named values, each set once.
class Rendezvous {
 public:
  // Joins the others at MASTER_ADDR:MASTER_PORT; rank 0 serves unless the launcher does.  A run of
  // one rank needs no network.  Throws Error when the place cannot be reached.
  explicit Rendezvous(const Rank& rank);
  ~Rendezvous();

  void set(std::string_view name, std::string_view value);
  // Waits until a rank has set it.
  std::string get(std::string_view name);

 private:
  c10::intrusive_ptr<c10d::Store> store_;
};

}  // namespace kvcalib
