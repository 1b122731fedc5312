// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/workers.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace kvcalib {
namespace {

TEST(Workers, DoEveryItemOnce) {
  for (const int64_t workers : {1, 3, 8}) {
    for (const size_t items : {size_t{0}, size_t{1}, size_t{5}, size_t{1000}}) {
      std::vector<std::atomic<int>> done(items);
      run_workers(items, workers, [&](int64_t worker, size_t item) {
        EXPECT_TRUE(worker >= 0 && worker < workers);
        ++done[item];
        return true;
      });
      for (const std::atomic<int>& times : done) ASSERT_EQ(times, 1);
    }
  }
}

TEST(Workers, RethrowWhatOneThrewAndLeaveTheRest) {
  for (const int64_t workers : {1, 4}) {
    std::atomic<int64_t> begun{0};
    const auto run = [&](int64_t /*worker*/, size_t /*item*/) -> bool {
      ++begun;
      throw std::runtime_error("an item");
    };
    EXPECT_THROW(run_workers(1000, workers, run), std::runtime_error);
    EXPECT_LE(begun, workers);
  }
}

TEST(Workers, StopEachWhereItIsToldTo) {
  std::atomic<int64_t> begun{0};
  run_workers(1000, 4, [&](int64_t /*worker*/, size_t /*item*/) {
    ++begun;
    return false;
  });
  EXPECT_LE(begun, 4);
  EXPECT_GE(begun, 1);
}

}  // namespace
}  // namespace kvcalib
