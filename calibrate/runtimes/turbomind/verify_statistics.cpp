// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/verify_statistics.h"

#include <algorithm>
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

// Nothing where it does not say, or says what no session is, which is noted.
std::optional<int64_t> told_session(const nlohmann::json& summary, VerifyReport& report) {
  constexpr const char* kKey = "session_length";
  if (!summary.contains(kKey)) return std::nullopt;
  const nlohmann::json& value = summary.at(kKey);
  if (value.is_number_integer() && value >= 1 && value <= kLongestSession)
    return value.get<int64_t>();
  report.notes.push_back(concat(kSummaryFileName, ": ", kKey, " is no whole number from 1 to ",
                                kLongestSession, "; the scales are compared with a window's"));
  return std::nullopt;
}

// If it is there and readable.  Throws Error for a method that is not known.
std::optional<Told> read_summary(const fs::path& directory, VerifyReport& report) {
  if (kind_at(directory / kSummaryFileName) == FileKind::kNothing) return std::nullopt;
  std::string name;
  std::optional<int64_t> session_length;
  try {
    const nlohmann::json summary = read_json(directory / kSummaryFileName);
    name = summary.at("method").get<std::string>();
    session_length = told_session(summary, report);
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

// Statistics, and what they are compared for.
struct Compared {
  const StatisticsFile& file;
  const ModelConfig& model;  // as it will be served
  const TurboMindRelease& release;
  int64_t ranks = 1;

  KvStatistics served(int64_t session_length) const {
    return served_ranges(file, model, session_length,
                         [&](const ModelConfig& config, int64_t length) {
                           return rotation_on(release, config, length);
                         });
  }
  // Tokens of the sessions that config.ini allows.
  int64_t session_length() const {
    const int64_t longest = release.longest_int8_prefill;
    return longest > 0 ? std::min(model.session_length, longest) : model.session_length;
  }
};

// What the scales may be made of: the ranges of sessions as long as summary.json says, else of the
// windows or of sessions as long as those of the model, then or now.
std::vector<KvStatistics> candidates_of(const Compared& compared, const std::optional<Told>& told) {
  if (told) return {compared.served(told->session_length.value_or(0))};
  return {compared.file.statistics, compared.served(compared.session_length()),
          compared.served(compared.file.provenance.model.session_length)};
}

// Scales that longer sessions would have otherwise are right, but not for all that may come.
void note_sessions(const Compared& compared, const std::optional<Told>& told,
                   const ScaleFiles& files, VerifyReport& report) {
  if (!told || !fits(told->method, compared.release)) return;
  const int64_t made_for = known_length(compared.file, told->session_length.value_or(0)),
                served = compared.session_length();
  if (served <= made_for) return;
  const bool is_known = !compared.file.statistics.key_reach.empty();
  if (is_known &&
      others(compared.served(served), compared.ranks, told->method, compared.release, files)
          .empty())
    return;
  report.notes.push_back(concat(kTurboMindConfig, ": session_len = ", served,
                                ", the scales are for ", "sessions of ", made_for,
                                " tokens: longer ones may leave the ", "ranges of K; ",
                                is_known ? "export" : "calibrate", " again"));
}

// What speaks against the files being those of the statistics, a sentence each.
std::vector<std::string> compare(const Compared& compared, const std::optional<Told>& told,
                                 const ScaleFiles& files) {
  const std::vector<KvStatistics> candidates = candidates_of(compared, told);
  const auto& [file, model, release, ranks] = compared;
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
    name += concat(": not what ", kStatisticsFileName, " gives for ", ranks, " serving ranks",
                   told ? ""
                        : concat(", nor for sessions of ", compared.session_length(),
                                 " tokens, by a method with its usual parameters"),
                   "; the files are of different runs: export again");
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
    const Compared compared{file, model, release, ranks};
    const std::optional<Told> told = read_summary(directory, report);
    for (const std::string& found : compare(compared, told, files)) fault(found);
    note_sessions(compared, told, files, report);
  } catch (const Error& failure) {
    fault(failure.what());
  }
}

}  // namespace kvcalib
