// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "sharding/files/error.h"

// That `text` holds `part`; both are strings.
#define EXPECT_HOLDS(part, text) EXPECT_PRED_FORMAT2(::testing::IsSubstring, part, text)

namespace kvcalib {

// The message of the Error that `action` throws.
template <typename Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

}  // namespace kvcalib
