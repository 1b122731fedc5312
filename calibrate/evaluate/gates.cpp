// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/gates.h"

#include <algorithm>
#include <cmath>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

std::string number(double value) {
  return std::isfinite(value) ? concat(value) : "not a finite number";
}

void judge_divergence(std::vector<std::string>& failed, double most, const Measured& measured,
                      const TextMeasures& measures, const std::string& where) {
  for (size_t s = 1; s < measures.streams.size(); ++s) {
    const double divergence = measures.streams[s].divergence.value;
    if (measured.streams[s].is_compared_only || divergence <= most) continue;
    failed.push_back(concat("--max-kl ", most, ": the mean KLD of ", measured.streams[s].name,
                            " is ", number(divergence), where));
  }
}

// Every stream of the rows of that task, but for those that are only compared.
void judge_loss(std::vector<std::string>& failed, const Gates::Loss& gate,
                const Measured& measured) {
  bool is_scored = false;
  for (const TaskScore& task : measured.tasks) {
    if (task.task != gate.task) continue;
    is_scored = true;
    for (size_t s = 1; s < task.streams.size(); ++s) {
      const double lost = 0 - task.streams[s].difference.value;
      if (measured.streams[s].is_compared_only || lost <= gate.points) continue;
      failed.push_back(concat("--max-loss ", gate.task, "=", gate.points, ": ",
                              measured.streams[s].name, " loses ", number(lost), " points"));
    }
  }
  if (!is_scored)
    failed.push_back(
        concat("--max-loss ", gate.task, "=", gate.points, ": that task was not scored"));
}

}  // namespace

std::vector<std::string> unknown_tasks(const Gates& gates, std::span<const std::string> tasks) {
  std::vector<std::string> unknown;
  for (const Gates::Loss& gate : gates.most_loss)
    if (std::find(tasks.begin(), tasks.end(), gate.task) == tasks.end())
      unknown.push_back(gate.task);
  return unknown;
}

std::vector<std::string> failed_gates(const Gates& gates, const Measured& measured) {
  std::vector<std::string> failed;
  if (gates.most_divergence) {
    const double most = *gates.most_divergence;
    if (measured.text) judge_divergence(failed, most, measured, *measured.text, "");
    if (!measured.text)
      for (const CopyDistance& copy : measured.copy)
        judge_divergence(failed, most, measured, copy.measures,
                         concat(" in copying at distance ", copy.distance));
    if (!measured.text && measured.copy.empty())
      failed.push_back(concat("--max-kl ", most, ": neither text nor copying was scored"));
  }
  for (const Gates::Loss& gate : gates.most_loss) judge_loss(failed, gate, measured);
  return failed;
}

}  // namespace kvcalib
