// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/runtime.h"

#include <algorithm>
#include <array>

#include "calibrate/runtimes/turbomind/turbomind.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr std::array kRuntimes{RuntimeRow{kTurboMind, turbomind_file_names, open_turbomind}};

}  // namespace

const RuntimeRow& find_runtime(std::string_view name) {
  const auto* const found = std::find_if(kRuntimes.begin(), kRuntimes.end(),
                                         [&](const RuntimeRow& row) { return row.name == name; });
  if (found != kRuntimes.end()) return *found;
  std::string known;
  for (const RuntimeRow& row : kRuntimes) known += concat(known.empty() ? "" : ", ", row.name);
  throw Error(concat(name, ": no runtime that kvcalib makes scales for; known are ", known));
}

OutputNames delivery_names(const RuntimeRow& runtime) {
  OutputNames names = runtime.file_names();
  names.is_ours = [of_runtime = names.is_ours](std::string_view name) {
    return name == kStatisticsFileName || name == kSummaryFileName || of_runtime(name);
  };
  return names;
}

std::vector<std::string> check_served(const Runtime& runtime, const ServedModel& model) {
  RuntimeFindings found = runtime.examine(model);
  std::string message;
  for (const std::string& fault : found.faults) message += (message.empty() ? "" : "\n") + fault;
  if (!message.empty()) throw Error(message);
  return std::move(found.warnings);
}

int64_t served_embedding_rows(const WeightDirectory& weights) {
  return weights.runtime_config() != nullptr ? weights.embedding().rows : 0;
}

}  // namespace kvcalib
