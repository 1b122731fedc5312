// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibrate/command/evaluation_work.h"
#include "calibrate/command/generation_request.h"
#include "calibrate/data/tokenizer.h"
#include "calibrate/evaluate/task_scores.h"

namespace kvcalib {

// The answers of a task, from the continuations of its prompts [items][streams].
ScoredTask scored_answers(const GenerationWork& work, const TaskContinuations& continuations,
                          const Tokenizer& tokenizer);

}  // namespace kvcalib
