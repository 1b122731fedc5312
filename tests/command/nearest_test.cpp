// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/nearest.h"

#include <gtest/gtest.h>

namespace kvcalib {
namespace {

TEST(Nearest, IsTheNameWithTheFewestEditsWhereOneIsNear) {
  EXPECT_EQ(nearest("--weigths", {"--weights", "--data"}), "--weights");
  EXPECT_EQ(nearest("--x", {"--weights", "--data"}), std::nullopt);
  EXPECT_EQ(nearest("--data", {"--date", "--data"}), "--data");
  EXPECT_EQ(nearest("anything", {}), std::nullopt);
}

TEST(Nearest, IsSuggestedOrNothingIs) {
  EXPECT_EQ(suggestion("exprot", {"verify", "export"}), "; did you mean export?");
  EXPECT_EQ(suggestion("zzzzzz", {"verify", "export"}), "");
}

}  // namespace
}  // namespace kvcalib
