// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calibrate/evaluate/measured.h"

namespace kvcalib {

// Limits that a run is held against.
struct Gates {
  struct Loss {
    std::string task;
    double points = 0;  // that may be lost
  };

  std::optional<double> most_divergence;  // --max-kl: mean KL(first || stream) in nats
  std::vector<Loss> most_loss;            // --max-loss

  bool any() const { return most_divergence || !most_loss.empty(); }
};

// Tasks that a gate names and that are not among `tasks`: the caller refuses them before the run.
std::vector<std::string> unknown_tasks(const Gates& gates, std::span<const std::string> tasks);

// A sentence for each gate and stream that failed; what is not a number, or was not measured,
// fails. The divergence is the text's, and of a run without text that of copying at each distance;
// streams that are only compared are not judged.
std::vector<std::string> failed_gates(const Gates& gates, const Measured& measured);

}  // namespace kvcalib
