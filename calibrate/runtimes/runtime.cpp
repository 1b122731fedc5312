// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/runtime.h"

#include <algorithm>
#include <utility>

#include "calibrate/statistics/session_ranges.h"
#include "sharding/files/error.h"

namespace kvcalib {

int64_t Runtime::served_session(const ModelConfig& config, std::optional<int64_t> asked) const {
  const int64_t session = asked.value_or(config.session_length);
  return longest_session() > 0 ? std::min(session, longest_session()) : session;
}

KvStatistics Runtime::served_ranges(const StatisticsFile& file, const ModelConfig& config,
                                    int64_t session_length) const {
  return kvcalib::served_ranges(
      file, config, session_length,
      [this](const ModelConfig& model, int64_t length) { return rotation(model, length); });
}

std::string in_lines(const std::vector<std::string>& sentences, const std::string& before) {
  std::string text;
  for (const std::string& sentence : sentences)
    text += concat(text.empty() ? "" : "\n", before, sentence);
  return text;
}

std::vector<std::string> check_served(const Runtime& runtime, const ServedModel& model) {
  RuntimeFindings found = runtime.examine(model);
  if (!found.faults.empty()) throw Error(in_lines(found.faults));
  return std::move(found.warnings);
}

int64_t served_embedding_rows(const WeightDirectory& weights) {
  return weights.runtime_config() != nullptr ? weights.embedding().rows : 0;
}

}  // namespace kvcalib
