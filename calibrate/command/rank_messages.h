// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/command/generation_request.h"
#include "calibrate/command/score_request.h"
#include "calibrate/data/windows.h"
#include "calibrate/engine/group_scores.h"
#include "sharding/ranks/rendezvous.h"
#include "sharding/streaming/trace.h"

namespace kvcalib {

// From the first rank to the others: the windows' shape, once all is checked, then their ids.
void send_shape(Rendezvous& rendezvous, const WindowShape& shape);
WindowShape receive_shape(Rendezvous& rendezvous);
void send_ids(Rendezvous& rendezvous, std::span<const int32_t> ids);
std::vector<int32_t> receive_ids(Rendezvous& rendezvous);

// From the others to the first rank, at the end: the events of their traces.
void send_trace(Rendezvous& rendezvous, int64_t rank, const std::string& events);
std::string receive_trace(Rendezvous& rendezvous, int64_t rank);
// Of all ranks, this one's the first.
std::vector<std::string> gather_traces(Rendezvous& rendezvous, int64_t ranks, Trace& own);

// From the first rank to the others: what they are to score, once all is checked.
void send_request(Rendezvous& rendezvous, const ScoreRequest& request);
ScoreRequest receive_request(Rendezvous& rendezvous);

// The same of what they are to generate, and from the others to the first rank what the task at a
// place gave.
void send_generation(Rendezvous& rendezvous, const GenerationRequest& request);
GenerationRequest receive_generation(Rendezvous& rendezvous);
void send_continuations(Rendezvous& rendezvous, size_t place, int64_t rank,
                        const TaskContinuations& continuations);
TaskContinuations receive_continuations(Rendezvous& rendezvous, size_t place, int64_t rank);

// From the others to the first rank: what one of a request's groups gave.
void send_scores(Rendezvous& rendezvous, size_t group, int64_t rank, std::string_view scores);
GroupScores receive_scores(Rendezvous& rendezvous, size_t group, int64_t rank);

}  // namespace kvcalib
