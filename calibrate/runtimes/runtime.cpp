// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/runtime.h"

#include <utility>

#include "sharding/files/error.h"

namespace kvcalib {

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
