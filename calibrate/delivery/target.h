// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/runtimes/runtime_table.h"
#include "calibrate/statistics/scale_method.h"
#include "sharding/formats/model_config.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// What scale files are to be made for.
struct ScaleOptions {
  std::vector<std::string> readers{std::string(kTurboMind)};  // of reader_names()
  RuntimeChoice runtime;                                      // where TurboMind is one of them
  std::optional<int64_t> serving_ranks;                       // else as the weights are cut
  // The default stands for symmetric where the runtime holds no zero points.
  ScaleMethod method = ScaleMethod::kAsymmetric;
  std::optional<int64_t> session_length = {};  // tokens of the longest served; else the model's
};

// What they are made for: a runtime, the ranks that serve, and the method.
struct Target {
  std::vector<std::string> readers;
  std::shared_ptr<const Runtime> runtime;  // a release of it
  int64_t ranks = 1;
  ScaleMethod method;
  int64_t session_length = 0;         // tokens of the longest session; 0: not known
  std::vector<std::string> warnings;  // what the user should know and the release accepts

  bool serves(std::string_view reader) const;
};

// For a weights directory, or a model that is not there yet (`embedding_rows` of its embedding on
// disk; 0: not known).  `length`: tokens of a window, for how K will be rotated.  Throws Error for
// what that runtime would misread; where it is none of the readers, its rules do not count, and it
// only says how K of weights that are its own is rotated.
Target resolve_target(const ModelConfig& config, const ScaleOptions& options,
                      int64_t embedding_rows, int64_t length);
// The same for weights that are there, whose own warnings come first; and what any other reader
// would misread.
Target resolve_target(const WeightDirectory& weights, const ScaleOptions& options, int64_t length);

}  // namespace kvcalib
