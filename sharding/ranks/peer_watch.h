// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

#include "sharding/ranks/heartbeats.h"
#include "sharding/ranks/loss.h"

namespace kvcalib {

// A peer ended before it had done its part: its own message is the one worth reading.
class PeerLost : public std::exception {
 public:
  explicit PeerLost(std::string what) : what_(std::move(what)) {}
  const char* what() const noexcept override { return what_.c_str(); }

 private:
  std::string what_;
};

// Whether the ranks of a run are still there, also when nobody but themselves would notice: GPUs
// wait for each other for ever.  Every rank counts up a number at the store from a thread of its
// own; one that stands still is a rank that was killed, or a machine that is gone (the one that
// serves the store: as soon as its connections are, or when it does not answer).  All ranks learn
// the same reason within seconds.  A process that does not end of itself then is ended.
class PeerWatch {
 public:
  // `store`: a connection of its own to where the ranks meet.  In a world of one nothing is
  // watched.  `started_here`: as Heartbeats has it.  `waiting_line`: told once on stderr when
  // nobody else has joined for a moment.  Throws std::system_error when no thread can be started;
  // the others are told then.
  PeerWatch(c10::intrusive_ptr<c10d::Store> store, int64_t rank, int64_t world, bool started_here,
            std::string waiting_line = {});
  // This rank has done its part; or it has failed, when an exception is on its way.
  ~PeerWatch();
  PeerWatch(const PeerWatch&) = delete;
  PeerWatch& operator=(const PeerWatch&) = delete;

  // Any thread.  Throws PeerLost with the reason once a rank is lost.
  void check() const;
  // The same where it is known already that one is: waits for the reason.
  [[noreturn]] void explain();
  // Any thread.
  bool lost() const;
  // Any thread.  Tells the others that this rank has failed, unless it only follows another.
  void give_up();
  // Nobody need wait for this rank any more, and it waits for nobody.
  void finish();
  // `action` is called once when a rank is lost, by the watch's thread, or at once if one is
  // already.  An empty one takes the place of an earlier one, which is not running any more when
  // this returns.
  void when_lost(std::function<void()> action);

 private:
  void watch();
  void end_watch();
  std::optional<Loss> beat_until_finished();
  bool wait_for_next_beat();
  // Sees that the watch itself goes on: a store that does not answer holds its thread.
  void watch_the_watch();
  void lose_the_store();
  void lose(const Loss& loss);
  void act();
  [[noreturn]] void end_process(const Loss& loss) const;
  void end_process_unless_finished(bool own_failure, const Loss& loss);

  const c10::intrusive_ptr<c10d::Store> store_;
  const int64_t rank_;
  const int exceptions_;
  Heartbeats heartbeats_;  // used by the watch's thread
  std::string waiting_line_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool finished_ = false;
  bool watch_ended_ = false;
  int64_t beats_ = 0;
  bool gave_up_ = false;  // what ends this rank is its own failure
  bool follows_ = false;  // it is not
  std::optional<Loss> loss_;

  std::mutex action_mutex_;
  std::function<void()> action_;
  std::thread thread_;
  std::thread second_;
};

}  // namespace kvcalib
