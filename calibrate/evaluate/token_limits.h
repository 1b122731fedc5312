// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "calibrate/data/task_file.h"
#include "calibrate/data/tokenizer.h"

namespace kvcalib {

// Throws Error naming the file when it holds texts and there is no tokenizer for them.
void check_tokenizer(const TaskFile& task, const Tokenizer* tokenizer);

// Of more than `most` ids those at the beginning go, but for BOS.  Returns how many went.
int64_t keep_end(std::vector<int32_t>& ids, int64_t most, std::optional<int32_t> bos);

}  // namespace kvcalib
