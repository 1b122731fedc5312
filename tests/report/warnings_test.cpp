// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/warnings.h"

#include <gtest/gtest.h>

#include <sstream>

namespace kvcalib {
namespace {

TEST(Warnings, AreALineEach) {
  std::ostringstream out;
  warn(out, {"one thing", "another"});
  EXPECT_EQ(out.str(), "kvcalib: warning: one thing\nkvcalib: warning: another\n");
}

TEST(Warnings, AreNoLinesWhereThereAreNone) {
  std::ostringstream out;
  warn(out, {});
  EXPECT_EQ(out.str(), "");
}

}  // namespace
}  // namespace kvcalib
