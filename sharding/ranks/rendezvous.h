// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <memory>
#include <string>
#include <string_view>

#include "sharding/ranks/peer_watch.h"
#include "sharding/ranks/rank.h"

namespace kvcalib {

// The place where the ranks of a run meet: small named values, each set once, and who is still
// there.
class Rendezvous {
 public:
  // Joins the others in the launcher's file, or at MASTER_ADDR:MASTER_PORT, which rank 0 serves
  // unless who started it does.  One that reaches nobody there in a moment says on stderr what it
  // waits for: variables may be left over of another job.  A run of one rank needs no network.
  // Throws Error when the place cannot be reached.
  explicit Rendezvous(const Rank& rank);
  ~Rendezvous();
  Rendezvous(const Rendezvous&) = delete;
  Rendezvous& operator=(const Rendezvous&) = delete;

  void set(std::string_view name, std::string_view value);
  // Waits until a rank has set it.  Throws PeerLost when a rank is lost meanwhile.
  std::string get(std::string_view name);

  // By rank 0, when what the run had to deliver is committed, and when all is written and printed
  // that follows: for this program where it started the ranks, should this one be lost on its way
  // out.  Take two seconds at most and never throw: nothing may fail any more for their sake.
  void tell_delivered() noexcept;
  void tell_done() noexcept;

  PeerWatch& peers() { return *peers_; }

 private:
  void wait_for(const std::string& key);
  void tell_launcher(void (*tell)(c10d::Store&)) noexcept;

  bool started_here_ = false;
  bool served_here_ = false;
  c10::intrusive_ptr<c10d::Store> store_;
  std::unique_ptr<PeerWatch> peers_;
};

}  // namespace kvcalib
