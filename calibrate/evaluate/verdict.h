// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "calibrate/evaluate/measured.h"

namespace kvcalib {

// Whether what was lost is more than noise, and where: of each stream behind the first a sentence.
std::string verdict(const Measured& measured);

// Limits that a run is held against.
struct Gates {
  std::optional<double> most_divergence;  // --max-kl: mean KL(first || stream) in nats
  std::vector<std::pair<std::string, double>> most_loss;  // --max-loss: task, points
};

// Tasks that a gate names and that are not among `tasks`: the caller refuses them before the run.
std::vector<std::string> unknown_tasks(const Gates& gates, std::span<const std::string> tasks);

// A sentence for each gate and stream that failed; what is not a number fails.  The divergence is
// the text's, and of a run without text the copies' at each distance.  Streams that are only
// compared are not judged by it.
std::vector<std::string> failed_gates(const Gates& gates, const Measured& measured);

}  // namespace kvcalib
