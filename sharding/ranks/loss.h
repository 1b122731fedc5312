// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "sharding/ranks/local_store.h"

namespace c10d {
class Store;
}

namespace kvcalib {

// Why the ranks of a run end early.
struct Loss {
  enum class Kind {
    kFailed,      // the rank failed, and says more itself
    kNotJoined,   // it has never been there
    kSilent,      // it was, and stands still
    kNowhere,     // of no rank: where they meet is gone
    kNotStarted,  // it has never been there, though this program started it
    kNotEnded,    // it had nothing more to do
  };
  Kind kind = Kind::kFailed;
  int64_t rank = 0;

  // As a sentence for people.
  std::string text() const;

  bool operator==(const Loss&) const = default;
};

// What the ranks were told of, if anything.
std::optional<Loss> loss_at(c10d::Store& store);
std::optional<Loss> loss_at(const LocalStore& store);
// Tells them.  Of several losses the first counts, for all ranks: returns that one.
Loss tell_loss(c10d::Store& store, const Loss& loss);

// That rank 0 has committed what the run had to deliver: what is lost after that is not the result.
void tell_delivered(c10d::Store& store);
bool delivered_at(const LocalStore& store);
// That it has written and printed all that follows as well: it is about to end.
void tell_done(c10d::Store& store);
bool done_at(const LocalStore& store);

// How long a process may take to end by itself once it knows: one that learns that another is lost,
// and, of a rank that failed, the one that has to say why.
inline constexpr std::chrono::seconds kGrace{2};
inline constexpr std::chrono::seconds kGraceOfFailed{60};
// And rank 0, once all is done: giving back the memory of GPUs takes its time.
inline constexpr std::chrono::seconds kGraceAfterAll{15};

}  // namespace kvcalib
