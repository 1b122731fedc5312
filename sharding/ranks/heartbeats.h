// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "sharding/ranks/loss.h"

namespace kvcalib {

// A number at the store that a rank counts up as long as it lives, and how long those of the others
// have stood still.  Knows no clock but its own beats: a rank that was suspended together with the
// others loses nobody.
class Heartbeats {
 public:
  // How often to beat.
  static constexpr std::chrono::milliseconds kInterval{250};
  // The beats that another rank may miss, and those that it has to join.
  static constexpr int kSilentBeats = 20;
  static constexpr int kJoiningBeats = 5 * 60 * 4;

  // `store` outlives it.
  Heartbeats(c10d::Store& store, int64_t rank, int64_t world)
      : store_(store), rank_(rank), peers_(static_cast<size_t>(world)) {}

  // Counts up and looks at the others.  Returns the loss that was told of, or that it sees itself.
  std::optional<Loss> beat();
  // The last one: nobody need wait for this rank any more.
  void finish();

 private:
  struct Peer {
    int64_t count = 0;
    int silent_beats = 0;
  };

  int64_t count_of(int64_t rank) const;

  c10d::Store& store_;
  const int64_t rank_;
  std::vector<Peer> peers_;
};

}  // namespace kvcalib
