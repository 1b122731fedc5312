// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "calibrate/command/evaluation_streams.h"
#include "calibrate/command/evaluation_work.h"
#include "calibrate/command/generation_request.h"
#include "calibrate/command/options.h"
#include "calibrate/command/rank_run.h"
#include "calibrate/command/score_request.h"
#include "calibrate/engine/score_pass.h"
#include "calibrate/output/output_directory.h"
#include "calibrate/runtimes/runtime.h"
#include "sharding/files/unchanged_files.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// What the first rank of an evaluation works on, all of it checked.
struct EvaluationJob {
  std::unique_ptr<OutputDirectory> output;  // null: only stdout
  std::unique_ptr<WeightDirectory> directory;
  std::unique_ptr<const Runtime> runtime;
  TriedCaches tried;
  EvaluationWork work;
  UnchangedFiles inputs;  // all that is read
  std::string weights;    // state of every weight file: the fingerprint sees but samples of them
};

// Throws Error and UsageError for what the user can mend, before any work.
EvaluationJob open_job(const EvaluateOptions& options, const c10::Device& device);

// Takes back what a killed run has left in the place of its output.
void clear_evaluation(const EvaluateOptions& options);

// What all ranks are to score, without groups; the trees are taken out of the job's work.
ScoreRequest make_request(EvaluationJob& job);

// What all ranks are to generate; without tasks where there are none.  Throws UsageError for
// streams whose format no cache of a runtime holds.
GenerationRequest make_generation_request(const EvaluationJob& job, const c10::Device& device,
                                          int64_t ranks);

// Tokens that share a reading of the weights: as asked for, or what fits into the half of the
// device's memory that nothing else takes.  Throws Error when host memory does not even hold the
// rest.
int64_t group_tokens(const EvaluateOptions& options, const WeightDirectory& directory,
                     const ScoreRequest& request, const c10::Device& device, int64_t ranks);

// What tells an evaluation apart from those whose finished parts are of no use to it: SHA-256.
std::string digest_of(const EvaluationJob& job, const ScoreRequest& request,
                      GenerationRequest generation, const c10::Device& device);

// What a rank needs of its device for a request.
MemoryPlan plan_of(const WeightDirectory& directory, const ScoreRequest& request,
                   const PassSettings& settings, int64_t ranks);

// What all ranks do alike: the pass of a request, and the trees of a group.  Directory and run
// outlive the pass.  Throws Error when a GPU has no room for it.
std::unique_ptr<ScorePass> start_score_pass(const WeightDirectory& directory,
                                            const Runtime& runtime, const ScoreRequest& request,
                                            const RankRun& run);
std::span<const TokenTree> trees_of(const ScoreRequest& request, const TreeGroup& group);

}  // namespace kvcalib
