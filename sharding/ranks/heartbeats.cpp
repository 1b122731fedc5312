// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/heartbeats.h"

#include <algorithm>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <utility>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr int64_t kFinished = int64_t{1} << 40;

std::string key_of(int64_t rank) { return concat("kvcalib/alive/", rank); }

}  // namespace

// What rank `rank` has counted so far; 0 before it has joined.
int64_t Heartbeats::count_of(int64_t rank) const {
  const std::string key = key_of(rank);
  if (!store_.check({key})) return 0;
  const std::vector<uint8_t> count = store_.get(key);
  return std::stoll(std::string(count.begin(), count.end()));
}

std::optional<Loss> Heartbeats::beat(Clock::time_point now) {
  store_.add(key_of(rank_), 1);
  const auto passed =
      std::min<Clock::duration>(now - std::exchange(last_, now).value_or(now), kMostOfABeat);
  if (const std::optional<Loss> told = loss_at(store_)) return told;
  for (int64_t rank = 0; rank < static_cast<int64_t>(peers_.size()); ++rank) {
    if (rank == rank_) continue;
    const int64_t count = count_of(rank);
    if (count >= kFinished) continue;
    Peer& peer = peers_[static_cast<size_t>(rank)];
    peer.silent = count == peer.count ? peer.silent + passed : Clock::duration{0};
    peer.count = count;
    if (count > 0 && peer.silent > kSilence) return Loss{Loss::Kind::kSilent, rank};
    if (count > 0) continue;
    if (started_here_ && peer.silent > kStarting) return Loss{Loss::Kind::kNotStarted, rank};
    if (peer.silent > kJoining) return Loss{Loss::Kind::kNotJoined, rank};
  }
  return std::nullopt;
}

bool Heartbeats::nobody_has_joined() const {
  for (size_t rank = 0; rank < peers_.size(); ++rank) {
    if (static_cast<int64_t>(rank) == rank_) continue;
    if (peers_[rank].count > 0 || peers_[rank].silent < kPatience) return false;
  }
  return true;
}

void Heartbeats::finish() { store_.add(key_of(rank_), kFinished); }

}  // namespace kvcalib
