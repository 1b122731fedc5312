// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/peer_watch.h"

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "sharding/files/error.h"
#include "sharding/ranks/launched_process.h"

namespace kvcalib {

PeerWatch::PeerWatch(c10::intrusive_ptr<c10d::Store> store, int64_t rank, int64_t world)
    : store_(std::move(store)),
      rank_(rank),
      exceptions_(std::uncaught_exceptions()),
      heartbeats_(*store_, rank, world) {
  if (world > 1) thread_ = std::thread([this] { watch(); });
}

PeerWatch::~PeerWatch() {
  if (std::uncaught_exceptions() > exceptions_) give_up();
  finish();
}

void PeerWatch::check() const {
  const std::lock_guard lock(mutex_);
  if (loss_) throw PeerLost(loss_->text());
}

void PeerWatch::explain() {
  {
    std::unique_lock lock(mutex_);
    follows_ = true;
    changed_.wait_for(lock, (Heartbeats::kSilentBeats + 4) * Heartbeats::kInterval,
                      [this] { return loss_ || gave_up_ || finished_; });
  }
  check();
  throw PeerLost("another rank gave up");
}

void PeerWatch::give_up() {
  {
    const std::lock_guard lock(mutex_);
    if (loss_ || follows_ || finished_) return;
    gave_up_ = true;
  }
  try {
    tell_loss(*store_, {Loss::Kind::kFailed, rank_});
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
  return loss_.has_value();
}

bool PeerWatch::wait_for_next_beat() {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, Heartbeats::kInterval, [this] { return finished_; });
}

void PeerWatch::watch() {
  try {
    do {
      if (const std::optional<Loss> loss = heartbeats_.beat())
        return lose(tell_loss(*store_, *loss));
    } while (wait_for_next_beat());
    heartbeats_.finish();
  } catch (const std::exception&) {
    lose({Loss::Kind::kNowhere, rank_});
  }
}

void PeerWatch::lose(const Loss& loss) {
  bool own_failure = false;
  {
    const std::lock_guard lock(mutex_);
    if (finished_) return;
    own_failure = gave_up_;
    if (!own_failure) loss_ = loss;
  }
  changed_.notify_all();
  // Beside the action, which may never return: a library waits for a peer that is stopped.
  const std::jthread end([&] { end_process_unless_finished(own_failure, loss); });
  if (own_failure) return;
  const std::lock_guard lock(action_mutex_);
  act();
}

void PeerWatch::end_process_unless_finished(bool own_failure, const Loss& loss) {
  const std::chrono::seconds grace = own_failure ? kGraceOfFailed : kGrace;
  std::unique_lock lock(mutex_);
  if (changed_.wait_for(lock, grace, [this] { return finished_; })) return;
  // No exception reaches a thread that waits inside a driver or computes for minutes.
  if (!was_launched_here())
    std::cerr << concat("kvcalib: rank ", rank_, ": error: ", loss.text(), "\n") << std::flush;
  std::_Exit(was_launched_here() ? kPeerLostExitCode : 1);
}

}  // namespace kvcalib
