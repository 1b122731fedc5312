// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/peer_watch.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <utility>

#include "sharding/files/error.h"
#include "sharding/ranks/launched_process.h"

namespace kvcalib {

PeerWatch::PeerWatch(c10::intrusive_ptr<c10d::Store> store, int64_t rank, int64_t world,
                     bool started_here, std::string waiting_line)
    : store_(std::move(store)),
      rank_(rank),
      exceptions_(std::uncaught_exceptions()),
      heartbeats_(*store_, rank, world, started_here),
      waiting_line_(std::move(waiting_line)) {
  if (world == 1) return;
  try {
    second_ = std::thread([this] { watch_the_watch(); });
    thread_ = std::thread([this] { watch(); });
  } catch (...) {
    give_up();
    end_watch();
    if (second_.joinable()) second_.join();
    throw;
  }
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
    changed_.wait_for(lock, Heartbeats::kSilence + std::chrono::seconds(1),
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
  if (second_.joinable()) second_.join();
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
  ++beats_;
  return !changed_.wait_for(lock, Heartbeats::kInterval, [this] { return finished_; });
}

void PeerWatch::watch() {
  std::optional<Loss> loss;
  try {
    if ((loss = beat_until_finished()))
      loss = tell_loss(*store_, *loss);
    else
      heartbeats_.finish();
  } catch (const std::exception&) {
    loss = {Loss::Kind::kNowhere, rank_};
  }
  end_watch();
  if (loss) lose(*loss);
}

void PeerWatch::end_watch() {
  {
    const std::lock_guard lock(mutex_);
    watch_ended_ = true;
  }
  changed_.notify_all();
}

std::optional<Loss> PeerWatch::beat_until_finished() {
  do {
    if (const std::optional<Loss> loss = heartbeats_.beat(Heartbeats::Clock::now())) return loss;
    if (!waiting_line_.empty() && heartbeats_.nobody_has_joined())
      std::cerr << std::exchange(waiting_line_, {}) + "\n" << std::flush;
  } while (wait_for_next_beat());
  return std::nullopt;
}

void PeerWatch::watch_the_watch() {
  using Clock = Heartbeats::Clock;
  std::unique_lock lock(mutex_);
  int64_t seen = beats_;
  Clock::duration silent{0};
  for (Clock::time_point last = Clock::now(); silent <= Heartbeats::kSilence;) {
    if (changed_.wait_for(lock, Heartbeats::kInterval, [this] { return watch_ended_; })) return;
    const Clock::time_point now = Clock::now();
    silent += std::min<Clock::duration>(now - std::exchange(last, now), Heartbeats::kMostOfABeat);
    if (std::exchange(seen, beats_) != beats_) silent = Clock::duration{0};
  }
  lock.unlock();
  lose_the_store();
}

// Whoever asks the store waits for ever, finish() too: the process ends in any case.
void PeerWatch::lose_the_store() {
  const Loss loss{Loss::Kind::kNowhere, rank_};
  {
    const std::lock_guard lock(mutex_);
    if (!gave_up_ && !finished_) loss_ = loss;
  }
  changed_.notify_all();
  const std::jthread end([&] {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, kGrace, [this] { return watch_ended_; })) end_process(loss);
  });
  const std::lock_guard lock(action_mutex_);
  act();
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
  end_process(loss);
}

// No exception reaches a thread that waits inside a driver or computes for minutes.
void PeerWatch::end_process(const Loss& loss) const {
  if (!was_launched_here())
    std::cerr << concat("kvcalib: rank ", rank_, ": error: ", loss.text(), "\n") << std::flush;
  std::_Exit(was_launched_here() ? kPeerLostExitCode : 1);
}

}  // namespace kvcalib
