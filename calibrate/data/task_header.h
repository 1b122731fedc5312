// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sharding/files/json_object.h"

namespace kvcalib {

// What is compared between the texts of an item; the lowest wins.  Of a text of N tokens, a BOS
// that the tokenizer puts among them:
//   kPerToken      the surprises of tokens 2 .. N, summed, over N      ("ppl")
//   kPerPredicted  the same sum over N - 1                             ("ppl/(n-1)")
//   kSum           the sum from the token where the continuation begins ("ll")
enum class ScoringRule : uint8_t { kPerToken, kPerPredicted, kSum };

// As task files name it: ppl, ppl/(n-1), ll.
const char* name_of(ScoringRule rule);

// How answers are generated and what of them is compared.
struct GenerationRule {
  std::string extract;         // one of kAnswerRules
  int64_t max_new_tokens = 0;  // 1 to 4096
};

// As evaluate's AnswerRule knows them.
inline constexpr std::string_view kAnswerRules[] = {"contains",   "em",         "em-record",
                                                    "first-word", "gsm8k-2023", "gsm8k-2024"};

// What a task file says of all its items.
struct TaskHeader {
  std::string task, dataset, metric;
  std::string follows;  // the public config that the prompts are taken from; may be empty
  ScoringRule rule = ScoringRule::kPerToken;
  std::optional<GenerationRule> generation;  // of rule gen, which compares no texts
  std::vector<std::string> labels;           // of the texts, where all items have the same
  bool mean_of_groups = false;               // the score is the mean of the groups' means
  std::optional<int32_t> bos;                // that all texts and prompts given as ids begin with
};

// Throws Error naming file and line for what is not of the format.
TaskHeader read_task_header(const JsonObject& header, int64_t vocab);

}  // namespace kvcalib
