// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/task_prompts.h"

#include <algorithm>

#include "calibrate/evaluate/token_limits.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr int64_t kShortestPrompt = 2;  // BOS and a token

void check_ids(const TaskFile& task, const TaskItem& item, const std::vector<int32_t>& ids,
               int64_t vocab) {
  if (ids.empty()) throw Error(concat(task.where(item), ": the prompt has no tokens"));
  const auto outside =
      std::find_if(ids.begin(), ids.end(), [&](int32_t id) { return id < 0 || id >= vocab; });
  if (outside != ids.end())
    throw Error(concat(task.where(item), ": the prompt has id ", *outside,
                       ", but the model's vocabulary has ", vocab,
                       "; is this the model's tokenizer? Name it with --tokenizer"));
}

}  // namespace

std::vector<PromptTokens> tokenize_prompts(const TaskFile& task, const Tokenizer* tokenizer,
                                           int64_t vocab, int64_t length) {
  const int64_t most = length - task.generation->max_new_tokens;
  if (most < kShortestPrompt)
    throw Error(concat("--length ", length, ": leaves no room for prompts of ",
                       task.file.path.string(), " beside answers of ",
                       task.generation->max_new_tokens, " tokens; give a longer one"));
  check_tokenizer(task, tokenizer);
  const std::optional<int32_t> bos = task.holds_ids() ? task.bos : tokenizer->bos();
  std::vector<PromptTokens> prompts;
  for (const TaskItem& item : task.items) {
    PromptTokens& prompt = prompts.emplace_back();
    prompt.ids = task.holds_ids() ? item.prompt_ids : tokenizer->encode(item.prompt);
    check_ids(task, item, prompt.ids, vocab);
    prompt.cut = keep_end(prompt.ids, most, bos) > 0;
  }
  return prompts;
}

}  // namespace kvcalib
