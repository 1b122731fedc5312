// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <vector>

#include "calibrate/command/evaluation_job.h"
#include "calibrate/command/generation_run.h"
#include "calibrate/command/group_files.h"
#include "calibrate/report/progress.h"
#include "sharding/ranks/rendezvous.h"

namespace kvcalib {

// The continuations that an earlier run kept, by the places of their tasks, which are taken out of
// the request; empty those of the others.  Throws Error as GroupFiles does.
std::vector<TaskContinuations> take_kept_answers(const std::optional<GroupFiles>& files,
                                                 GenerationRequest& request);

// Generates with all ranks what the first one's request asks for, tells how it goes, and hands over
// each task's continuations, those of all ranks, when it is finished.
void generate_answers(const EvaluationJob& job, const GenerationRequest& request,
                      const RankRun& run, Rendezvous& rendezvous, ProgressReporter& reporter,
                      const TakeContinuations& take);

}  // namespace kvcalib
