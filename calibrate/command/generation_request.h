// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/generation/continuation.h"
#include "calibrate/generation/generation_plan.h"
#include "calibrate/generation/generator.h"
#include "calibrate/statistics/decoding_rule.h"

namespace kvcalib {

// Prompts whose continuations are read by one answer rule.
struct GenerationTask {
  size_t place = 0;  // among the evaluation's tasks of this kind
  std::string name, extract;
  std::vector<GenerationPrompt> prompts;
};

// What every rank is to generate, as the first rank tells the others.
struct GenerationRequest {
  std::vector<GenerationStream> streams;
  DecodingRule decoding;
  std::optional<int32_t> end;
  int64_t length = 0;     // of the longest prompt of all with its answer, which K is rotated for
  std::string tokenizer;  // the SentencePiece model that makes text of ids
  std::vector<GenerationTask> tasks;
};

// Continuations of a task, [prompts][streams]: of a rank, those whose prompts are its own.
using TaskContinuations = std::vector<std::vector<Continuation>>;

// Prompt i of a task is rank i % ranks's.
std::vector<GenerationPrompt> prompts_of_rank(const GenerationTask& task, int64_t rank,
                                              int64_t ranks);

std::string to_bytes(const GenerationRequest& request);
GenerationRequest generation_request_of(std::string_view bytes);
std::string to_bytes(const TaskContinuations& continuations);
TaskContinuations continuations_of(std::string_view bytes, const std::string& origin);

}  // namespace kvcalib
