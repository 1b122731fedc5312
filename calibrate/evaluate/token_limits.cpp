// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/token_limits.h"

#include <algorithm>
#include <iterator>

#include "sharding/files/error.h"

namespace kvcalib {

void check_tokenizer(const TaskFile& task, const Tokenizer* tokenizer) {
  if (tokenizer == nullptr && !task.holds_ids())
    throw Error(concat(task.file.path.string(), ": holds texts, which need a tokenizer; name the ",
                       "model's with --tokenizer, or make the file with ids"));
}

int64_t keep_end(std::vector<int32_t>& ids, int64_t most, std::optional<int32_t> bos) {
  const int64_t dropped = std::max<int64_t>(0, std::ssize(ids) - most);
  if (dropped == 0) return 0;
  const auto first = ids.begin() + (bos && ids.front() == *bos ? 1 : 0);
  ids.erase(first, first + dropped);
  return dropped;
}

}  // namespace kvcalib
