// SPDX-License-Identifier: Apache-2.0
#include "calibrate/service/driver_memory.h"

#include <gtest/gtest.h>

namespace kvcalib {
namespace {

TEST(DriverMemory, IsNotKnownOfAGpuThatIsNotThere) {
  EXPECT_FALSE(driver_free_bytes("ffff:ff:1f.0"));
  EXPECT_FALSE(driver_free_bytes(""));
}

}  // namespace
}  // namespace kvcalib
