// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/target.h"

#include <algorithm>
#include <utility>

#include "calibrate/delivery/export_targets.h"
#include "sharding/files/error.h"

namespace kvcalib {

bool Target::serves(std::string_view reader) const {
  return std::find(readers.begin(), readers.end(), reader) != readers.end();
}

Target resolve_target(const ModelConfig& config, const ScaleOptions& options,
                      int64_t embedding_rows, int64_t length) {
  std::shared_ptr<const Runtime> runtime = options.runtime.open();
  const int64_t ranks = options.serving_ranks.value_or(config.stored_ranks);
  if (const Target other{options.readers, runtime, ranks, options.method, 0, {}};
      !other.serves(options.runtime.name))
    return other;
  const bool zero_points = !options.method.is_symmetric();
  const bool held = !zero_points || runtime->holds_zero_points();
  if (!held && options.method != ScaleMethod::kAsymmetric)
    throw Error(concat("--method ", options.method.text(), ": ", runtime->title(),
                       " holds no zero points; give symmetric or symmetric-margin, or a later ",
                       "release"));
  std::vector<std::string> warnings =
      check_served(*runtime, {config, ranks, embedding_rows, length, zero_points});
  const int64_t session = runtime->served_session(config, options.session_length);
  if (options.session_length && session < *options.session_length)
    warnings.push_back(concat("--session-len ", *options.session_length, ": ", runtime->title(),
                              " serves sessions of at most ", session, " tokens"));
  if (session < runtime->served_session(config, std::nullopt))
    warnings.push_back(concat("--session-len ", session, ": session_len is ", config.session_length,
                              ", and longer sessions may leave the ranges of K"));
  return {options.readers, std::move(runtime),
          ranks,           held ? options.method : ScaleMethod::kSymmetric,
          session,         std::move(warnings)};
}

Target resolve_target(const WeightDirectory& weights, const ScaleOptions& options, int64_t length) {
  Target target = resolve_target(weights.config(), options, served_embedding_rows(weights), length);
  target.warnings.insert(target.warnings.begin(), weights.warnings().begin(),
                         weights.warnings().end());
  for_each_export(weights, target.readers, target.ranks,
                  [](const ScaleExporter&, const ExportTarget&) {});
  return target;
}

}  // namespace kvcalib
