// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/verify_statistics.h"

#include <nlohmann/json.hpp>

#include "sharding/files/error.h"
#include "sharding/files/file_bytes.h"
#include "sharding/formats/fingerprint.h"
#include "sharding/formats/turbomind_layout.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

// The method that summary.json names, if it is there and readable.  Throws Error for one that is
// not known.
std::optional<ScaleMethod> method_of_summary(const fs::path& directory, VerifyReport& report) {
  std::error_code failure;
  if (!fs::exists(directory / kSummaryFileName, failure)) return std::nullopt;
  std::string name;
  try {
    name = nlohmann::json::parse(read_file(directory / kSummaryFileName))
               .at("method")
               .get<std::string>();
  } catch (const std::exception&) {
    report.notes.push_back(concat(kSummaryFileName, ": is not readable; which method made the ",
                                  "scales is seen by comparing them"));
    return std::nullopt;
  }
  try {
    return ScaleMethod::parse(name);
  } catch (const Error& unknown) {
    throw Error(concat(kSummaryFileName, ": ", unknown.what()));
  }
}

// The methods that may have made scale files of that release.
std::vector<ScaleMethod> possible_methods(const fs::path& directory,
                                          const TurboMindRelease& release, VerifyReport& report) {
  const auto fits = [&](const ScaleMethod& method) {
    return release.scale_values == 4 || method.is_symmetric();
  };
  if (const auto method = method_of_summary(directory, report); method && fits(*method))
    return {*method};
  std::vector<ScaleMethod> methods = ScaleMethod::all();
  std::erase_if(methods, [&](const ScaleMethod& method) { return !fits(method); });
  return methods;
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
    std::optional<std::vector<std::string>> fewest;
    for (const ScaleMethod& method : possible_methods(directory, release, report)) {
      std::vector<std::string> names = others(statistics, ranks, method, release, files);
      if (!fewest || names.size() < fewest->size()) fewest = std::move(names);
    }
    for (const std::string& name : *fewest)
      fault(name, ": not what ", kStatisticsFileName, " gives for ", ranks,
            " serving ranks; the files are of different runs: export again");
  } catch (const Error& failure) {
    fault(failure.what());
  }
}

}  // namespace kvcalib
