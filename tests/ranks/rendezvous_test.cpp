// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/rendezvous.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>

#include "sharding/ranks/local_store.h"
#include "sharding/ranks/loss.h"

namespace kvcalib {
namespace {

// The only rank of two that has come, through with what it had to do.  The store is static: a
// thread that is left behind uses it for as long as the process lives.
class ThroughRank {
 public:
  explicit ThroughRank(const LocalStore& store) {
    setenv(LocalStore::kVariable, store.path().c_str(), 1);
    rendezvous_.emplace(Rank{0, 0, 2, true});
    rendezvous_->peers().finish();
    unsetenv(LocalStore::kVariable);
  }

  Rendezvous* operator->() { return &*rendezvous_; }

 private:
  std::optional<Rendezvous> rendezvous_;
};

TEST(Rendezvous, TellsTheLauncherWhatIsDelivered) {
  static LocalStore store;
  ThroughRank rank(store);
  rank->tell_delivered();
  EXPECT_TRUE(delivered_at(store));
  EXPECT_FALSE(done_at(store));
  rank->tell_done();
  EXPECT_TRUE(done_at(store));
}

TEST(Rendezvous, GoesOnAfterADeliveryWhereTheStoreDoesNotAnswer) {
  static LocalStore store;
  ThroughRank rank(store);
  const int file = open(store.path().c_str(), O_RDWR);
  ASSERT_GE(file, 0);
  ASSERT_EQ(flock(file, LOCK_EX), 0);  // as a rank that was stopped holds it
  rank->tell_delivered();
  EXPECT_FALSE(delivered_at(store));
  close(file);
}

}  // namespace
}  // namespace kvcalib
