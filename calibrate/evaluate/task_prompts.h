// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/data/task_file.h"
#include "calibrate/data/tokenizer.h"

namespace kvcalib {

// The prompt of an item as tokens.
struct PromptTokens {
  std::vector<int32_t> ids;  // at least 1
  bool cut = false;          // it was too long
};

// Cuts the prompts of a task of rule gen into tokens.  A prompt that leaves no room for
// max_new_tokens in `length` tokens loses those at its beginning, but for BOS.  `tokenizer` may be
// null for a file that holds ids.  Throws Error naming file and line for a prompt without tokens or
// with ids outside [0, vocab), and where `length` has no room for any prompt.
std::vector<PromptTokens> tokenize_prompts(const TaskFile& task, const Tokenizer* tokenizer,
                                           int64_t vocab, int64_t length);

}  // namespace kvcalib
