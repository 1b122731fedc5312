// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace kvcalib {

// A session of 2048 tokens, as converters write it.
inline constexpr int64_t kUsualSessionTokens = 2056;

// What is to be served at once.
struct ServingLoad {
  int64_t ranks = 1;           // one on each GPU
  int64_t sessions = 1;        // that begin in one prefill, the most that memory is needed for
  int64_t session_tokens = 0;  // session_len
  int64_t prompt_tokens = 0;   // of the longest prompt among them
  uint64_t card_bytes = 0;     // memory of a GPU
};

enum class CacheType { kSixteenBits, kInt8 };

}  // namespace kvcalib
