// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/verify_statistics.h"

#include <nlohmann/json.hpp>

#include "calibrate/runtimes/turbomind/rotation.h"
#include "calibrate/statistics/session_ranges.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/json_reader.h"
#include "sharding/formats/fingerprint.h"
#include "sharding/formats/turbomind_layout.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

// What summary.json says of how the scales were made.
struct Told {
  ScaleMethod method;
  std::optional<int64_t> session_length;  // older ones do not say: a window's
};

// If it is there and readable.  Throws Error for a method that is not known.
std::optional<Told> read_summary(const fs::path& directory, VerifyReport& report) {
  if (kind_at(directory / kSummaryFileName) == FileKind::kNothing) return std::nullopt;
  std::string name;
  std::optional<int64_t> session_length;
  try {
    const nlohmann::json summary = read_json(directory / kSummaryFileName);
    name = summary.at("method").get<std::string>();
    if (summary.contains("session_length"))
      session_length = summary.at("session_length").get<int64_t>();
  } catch (const std::exception&) {
    report.notes.push_back(concat(kSummaryFileName, ": is not readable; which method made the ",
                                  "scales is seen by comparing them"));
    return std::nullopt;
  }
  try {
    return Told{ScaleMethod::parse(name), session_length};
  } catch (const Error& unknown) {
    throw Error(concat(kSummaryFileName, ": ", unknown.what()));
  }
}

bool fits(const ScaleMethod& method, const TurboMindRelease& release) {
  return release.scale_values == 4 || method.is_symmetric();
}

// The files that are not `method`'s.
std::vector<std::string> others(const KvStatistics& statistics, int64_t ranks,
                                const ScaleMethod& method, const TurboMindRelease& release,
                                const ScaleFiles& files) {
  const std::vector<KvScale> scales = compute_scales(statistics, ranks, method);
  std::vector<std::string> names;
  for (const auto& [id, bytes] : files) {
    const auto index = static_cast<size_t>(id.layer * ranks + id.rank);
    if (scale_file_bytes(scales[index], release) != bytes)
      names.push_back(scale_file_name(id.layer, id.rank));
  }
  return names;
}

// The method whose scales the most files are, and the files that are not.
struct Explanation {
  std::optional<ScaleMethod> method;
  std::vector<std::string> others;
};

Explanation best_explanation(const std::vector<KvStatistics>& candidates, int64_t ranks,
                             const TurboMindRelease& release, const ScaleFiles& files) {
  Explanation best;
  for (const KvStatistics& statistics : candidates)
    for (const ScaleMethod& method : ScaleMethod::all()) {
      if (!fits(method, release)) continue;
      if (method.needs_histograms() && statistics.key_histograms.empty()) continue;
      std::vector<std::string> names = others(statistics, ranks, method, release, files);
      if (!best.method || names.size() < best.others.size()) best = {method, std::move(names)};
    }
  return best;
}

// What the scales may be made of: the ranges of sessions as long as summary.json says, else of the
// windows or of sessions as long as the model's.
std::vector<KvStatistics> candidates_of(const StatisticsFile& file, const std::optional<Told>& told,
                                        const TurboMindRelease& release) {
  const auto served = [&](int64_t session_length) {
    return served_ranges(file, session_length, [&](const ModelConfig& config, int64_t length) {
      return rotation_on(release, config, length);
    });
  };
  if (told) return {served(told->session_length.value_or(0))};
  return {file.statistics, served(file.provenance.model.session_length)};
}

// What speaks against the files being those of the statistics, a sentence each.
std::vector<std::string> compare(const StatisticsFile& file, int64_t ranks,
                                 const std::optional<Told>& told, const TurboMindRelease& release,
                                 const ScaleFiles& files) {
  const std::vector<KvStatistics> candidates = candidates_of(file, told, release);
  const bool is_told = told && fits(told->method, release);
  std::vector<std::string> names;
  if (is_told) names = others(candidates.front(), ranks, told->method, release, files);
  if (is_told && names.empty()) return {};
  Explanation best = best_explanation(candidates, ranks, release, files);
  if (is_told && best.others.empty())
    return {concat(kSummaryFileName, ": names the method ", told->method.text(),
                   ", but the scale files are ", best.method->text(),
                   "; they are of different runs: export again")};
  if (!is_told) names = std::move(best.others);
  for (std::string& name : names)
    name += concat(": not what ", kStatisticsFileName, " gives for ", ranks,
                   " serving ranks; the files are of different runs: export again");
  return names;
}

}  // namespace

void compare_with_statistics(const fs::path& directory, const ModelConfig& model,
                             const WeightDirectory* weights, const TurboMindRelease& release,
                             const ScaleFiles& files, VerifyReport& report) {
  const int64_t ranks = report.serving_ranks;
  if (ranks < 1) return;
  const auto fault = [&](const auto&... parts) { report.faults.push_back(concat(parts...)); };
  try {
    const StatisticsFile file = read_statistics(directory / kStatisticsFileName);
    const KvStatistics& statistics = file.statistics;
    if (statistics.layers != model.layers || statistics.kv_heads != model.kv_heads ||
        statistics.head_dim != model.head_dim) {
      fault(kStatisticsFileName, ": statistics of ", statistics.layers, " layers of ",
            statistics.kv_heads, " kv heads x ", statistics.head_dim, ", but ", kTurboMindConfig,
            " has ", model.layers, " of ", model.kv_heads, " x ", model.head_dim);
      return;
    }
    if (weights != nullptr && weights_fingerprint(*weights) != file.provenance.weights_fingerprint)
      fault(kStatisticsFileName, ": statistics of other weights than those here; calibrate again");
    for (const std::string& found :
         compare(file, ranks, read_summary(directory, report), release, files))
      fault(found);
  } catch (const Error& failure) {
    fault(failure.what());
  }
}

}  // namespace kvcalib
