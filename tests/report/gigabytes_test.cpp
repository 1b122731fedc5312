// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/gigabytes.h"

#include <gtest/gtest.h>

namespace kvcalib {
namespace {

TEST(Gigabytes, HaveAsManyDigitsAsAreAskedFor) {
  EXPECT_EQ(gigabytes(12'340'000'000), "12.34 GB");
  EXPECT_EQ(gigabytes(12'345'678'901, 3), "12.346 GB");
  EXPECT_EQ(gigabytes(0), "0.00 GB");
}

}  // namespace
}  // namespace kvcalib
