// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/program_version.h"

#include <gtest/gtest.h>

#include <regex>

namespace kvcalib {
namespace {

TEST(ProgramVersion, IsThreeNumbers) {
  EXPECT_TRUE(std::regex_match(program_version(), std::regex(R"(\d+\.\d+\.\d+)")))
      << program_version();
}

}  // namespace
}  // namespace kvcalib
