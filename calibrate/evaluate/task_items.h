// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/data/task_file.h"
#include "calibrate/data/tokenizer.h"
#include "calibrate/evaluate/item_tree.h"

namespace kvcalib {

// The items of a task file as tokens.
struct TaskTokens {
  std::vector<TokenItem> items;  // in the file's order
  int64_t cut_texts = 0;         // how many were too long
  int64_t cut_items = 0;         // that have such a text
  int64_t tokens = 0;            // of all texts, as scored
};

// As many as there are processors.
int64_t tokenizing_workers();

// Cuts every text into tokens, as a whole.  A continuation begins behind those tokens that the text
// has in common with the text before the continuation, cut on its own: where both merge into one
// token, it is scored.  A text of more than `length` tokens (at least 2) loses those at its
// beginning, but for BOS.  `tokenizer` may be null for a file that holds ids.  `workers` (at least
// 1) threads share the items, of which nothing in the result tells.  Throws Error naming file and
// line for the first text of which nothing is scored or that has an id outside [0, vocab).
TaskTokens tokenize_task(const TaskFile& task, const Tokenizer* tokenizer, int64_t vocab,
                         int64_t length, int64_t workers = tokenizing_workers());

}  // namespace kvcalib
