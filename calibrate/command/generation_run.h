// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "calibrate/command/generation_request.h"
#include "calibrate/command/rank_run.h"
#include "calibrate/runtimes/runtime.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// What a rank's device has for generation: what is free of a GPU, or its share of the host's
// memory.
GenerationRoom generation_room(const WeightDirectory& directory,
                               const std::vector<GenerationStream>& streams,
                               const c10::Device& device, int64_t ranks);

// Where the weights are best, for every task and rank: on every device where they fit, else each
// layer on one of them, else in their files.  Throws Error where a rank's prompts do not fit even
// then.
WeightPlace place_weights(const ModelConfig& config, const std::vector<GenerationTask>& tasks,
                          const GenerationRoom& room);

// A line for who waits; the last of a task is always told.
using TellGeneration = std::function<void(const std::string& text, bool last)>;

// Receives the continuations of a task, before the next one is begun.
using TakeContinuations =
    std::function<void(const GenerationTask& task, TaskContinuations continuations)>;

// This rank's part of a request: of one task after the other the continuations of its own prompts.
// Throws Error when they do not fit into its memory, and as Generator does.
void generate(const WeightDirectory& directory, const Runtime& runtime,
              const GenerationRequest& request, const RankRun& run, const TellGeneration& tell,
              const TakeContinuations& take);

// The ranks' parts of a task put together.
TaskContinuations merged(const GenerationTask& task, std::vector<TaskContinuations> of_ranks);

}  // namespace kvcalib
