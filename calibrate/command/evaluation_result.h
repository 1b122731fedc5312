// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "calibrate/command/evaluation_streams.h"
#include "calibrate/command/evaluation_work.h"
#include "calibrate/command/generation_request.h"
#include "calibrate/engine/group_scores.h"
#include "calibrate/evaluate/measured.h"
#include "calibrate/evaluate/task_scores.h"

namespace kvcalib {

// What the scores of all trees come to, and the continuations of all prompts.  The control's stream
// is the last.
struct EvaluationResult {
  Measured measured;
  std::vector<ScoredTask> tasks;  // items one by one, recall aside
};

EvaluationResult measure(const EvaluationWork& work, const TriedCaches& tried,
                         const ModelConfig& config, const GroupScores& scores,
                         const std::vector<TaskContinuations>& continuations);

}  // namespace kvcalib
