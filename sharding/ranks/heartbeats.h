// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "sharding/ranks/loss.h"

namespace kvcalib {

// A number at the store that a rank counts up as long as it lives, and how long those of the others
// have stood still.  A beat adds no more than kMostOfABeat to that, however late it comes: a rank
// that was suspended together with the others loses nobody.
class Heartbeats {
 public:
  using Clock = std::chrono::steady_clock;

  // How often to beat, and the most that a beat counts for.
  static constexpr std::chrono::milliseconds kInterval{250};
  static constexpr std::chrono::milliseconds kMostOfABeat{1000};
  // How long another rank may be silent, and how long it may take to join: less where this program
  // has started it.
  static constexpr std::chrono::seconds kSilence{5};
  static constexpr std::chrono::seconds kJoining{300};
  // How long a rank waits for the others before it says so: ranks do not come up at one moment.
  static constexpr std::chrono::milliseconds kPatience{1500};
  static constexpr std::chrono::seconds kStarting{60};

  // `store` outlives it.  `started_here`: this program has started all ranks.
  Heartbeats(c10d::Store& store, int64_t rank, int64_t world, bool started_here)
      : store_(store),
        rank_(rank),
        started_here_(started_here),
        peers_(static_cast<size_t>(world)) {}

  // Counts up and looks at the others.  Returns the loss that was told of, or that it sees itself.
  std::optional<Loss> beat(Clock::time_point now);
  // Whether no other rank has joined for kPatience.
  bool nobody_has_joined() const;
  // The last one: nobody need wait for this rank any more.
  void finish();

 private:
  struct Peer {
    int64_t count = 0;
    Clock::duration silent{0};
  };

  int64_t count_of(int64_t rank) const;

  c10d::Store& store_;
  const int64_t rank_;
  const bool started_here_;
  std::optional<Clock::time_point> last_;
  std::vector<Peer> peers_;
};

}  // namespace kvcalib
