// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/peer_watch.h"

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "sharding/files/error.h"
#include "sharding/ranks/launcher.h"

namespace kvcalib {
namespace {

constexpr std::chrono::milliseconds kTick{250};
// Counted in ticks of this process: one that was suspended together with the others loses nobody.
constexpr int kSilentTicks = 20;
constexpr int kJoiningTicks = 5 * 60 * 4;
constexpr int64_t kFinished = int64_t{1} << 40;

const std::string kLossKey = "kvcalib/loss";
constexpr std::string_view kFailed = " has failed; its own message says why";

std::string key_of(int64_t rank) { return concat("kvcalib/alive/", rank); }

std::vector<uint8_t> bytes_of(const std::string& text) { return {text.begin(), text.end()}; }

}  // namespace

Loss loss_at(c10d::Store& store) {
  if (!store.check({kLossKey})) return {};
  const std::vector<uint8_t> bytes = store.get(kLossKey);
  std::string reason(bytes.begin(), bytes.end());
  const bool is_failure = reason.ends_with(kFailed);
  return {std::move(reason), is_failure};
}

PeerWatch::PeerWatch(c10::intrusive_ptr<c10d::Store> store, int64_t rank, int64_t world)
    : store_(std::move(store)),
      rank_(rank),
      exceptions_(std::uncaught_exceptions()),
      peers_(static_cast<size_t>(world)) {
  if (world > 1) thread_ = std::thread([this] { watch(); });
}

PeerWatch::~PeerWatch() {
  if (std::uncaught_exceptions() > exceptions_) give_up();
  finish();
}

void PeerWatch::check() const {
  const std::lock_guard lock(mutex_);
  if (!loss_.empty()) throw PeerLost(loss_);
}

void PeerWatch::explain() {
  {
    std::unique_lock lock(mutex_);
    follows_ = true;
    changed_.wait_for(lock, (kSilentTicks + 4) * kTick,
                      [this] { return !loss_.empty() || gave_up_ || finished_; });
  }
  check();
  throw PeerLost("another rank gave up");
}

void PeerWatch::give_up() {
  {
    const std::lock_guard lock(mutex_);
    if (!loss_.empty() || follows_ || finished_) return;
    gave_up_ = true;
  }
  try {
    store_->compareSet(kLossKey, {}, bytes_of(concat("rank ", rank_, kFailed)));
  } catch (const std::exception&) {
    // The store is gone, which the others see as well.
  }
}

void PeerWatch::finish() {
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void PeerWatch::when_lost(std::function<void()> action) {
  const std::lock_guard lock(action_mutex_);
  action_ = std::move(action);
  if (lost()) act();
}

// Under action_mutex_.
void PeerWatch::act() {
  if (const auto action = std::exchange(action_, {})) action();
}

bool PeerWatch::lost() const {
  const std::lock_guard lock(mutex_);
  return !loss_.empty();
}

bool PeerWatch::wait_for_tick() {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, kTick, [this] { return finished_; });
}

// What rank `rank` has counted so far; 0 before it has joined.
int64_t PeerWatch::count_of(int64_t rank) {
  const std::string key = key_of(rank);
  if (!store_->check({key})) return 0;
  const std::vector<uint8_t> count = store_->get(key);
  return std::stoll(std::string(count.begin(), count.end()));
}

std::string PeerWatch::look() {
  store_->add(key_of(rank_), 1);
  if (std::string reason = loss_at(*store_).reason; !reason.empty()) return reason;
  for (size_t i = 0; i < peers_.size(); ++i) {
    if (static_cast<int64_t>(i) == rank_) continue;
    const int64_t count = count_of(static_cast<int64_t>(i));
    if (count >= kFinished) continue;
    Peer& peer = peers_[i];
    peer.silent_ticks = count == peer.count ? peer.silent_ticks + 1 : 0;
    peer.count = count;
    if (count == 0 && peer.silent_ticks > kJoiningTicks)
      return concat("rank ", i, " has not joined within five minutes");
    if (count > 0 && peer.silent_ticks > kSilentTicks)
      return concat("rank ", i,
                    " has not been heard of for five seconds; it was killed or stopped, ",
                    "or its machine is gone");
  }
  return {};
}

void PeerWatch::watch() {
  try {
    do {
      std::string reason = look();
      if (reason.empty()) continue;
      // Of several reasons at a time the first counts, for all ranks.
      const std::vector<uint8_t> first = store_->compareSet(kLossKey, {}, bytes_of(reason));
      if (!first.empty()) reason.assign(first.begin(), first.end());
      return lose(reason);
    } while (wait_for_tick());
    store_->add(key_of(rank_), kFinished);
  } catch (const std::exception&) {
    lose("the place where the ranks meet is gone: rank 0, or who started it, has ended");
  }
}

void PeerWatch::lose(const std::string& reason) {
  bool own_failure = false;
  {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    own_failure = gave_up_;
    if (!own_failure) loss_ = reason;
  }
  changed_.notify_all();
  // Beside the action, which may never return: a library waits for a peer that is stopped.
  const std::jthread end(
      [&] { end_process_unless_finished(own_failure ? kGraceOfFailed : kGrace, reason); });
  if (own_failure) return;
  const std::lock_guard lock(action_mutex_);
  act();
}

void PeerWatch::end_process_unless_finished(std::chrono::seconds grace, const std::string& reason) {
  std::unique_lock lock(mutex_);
  if (changed_.wait_for(lock, grace, [this] { return finished_; })) return;
  // No exception reaches a thread that waits inside a driver or computes for minutes.
  if (!was_launched_here())
    std::cerr << concat("kvcalib: rank ", rank_, ": error: ", reason, "\n") << std::flush;
  std::_Exit(was_launched_here() ? kPeerLostExitCode : 1);
}

}  // namespace kvcalib
