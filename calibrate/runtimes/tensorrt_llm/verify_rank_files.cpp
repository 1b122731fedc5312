// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/tensorrt_llm/verify_rank_files.h"

#include <algorithm>

#include "calibrate/output/file_operations.h"
#include "calibrate/runtimes/checkpoint.h"
#include "calibrate/runtimes/overlay_file.h"
#include "calibrate/runtimes/scale_checks.h"
#include "calibrate/runtimes/tensorrt_llm/rank_files.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr const char* kAllFiles = "rank*.safetensors";

void check_algorithm(const ExportedDirectory& directory, VerifyReport& report) {
  const JsonObject config =
      directory.config ? *directory.config : JsonObject::read(directory.path / kConfigMerge);
  const std::string found = config.object("quantization").text("kv_cache_quant_algo", "");
  if (found != kCacheAlgorithm)
    report.faults.push_back(concat(config.origin(), ": quantization.kv_cache_quant_algo is '",
                                   found, "', expected ", kCacheAlgorithm,
                                   ": the cache would not be int8; merge ", kConfigMerge));
}

// Whether the layers lie in other files than is checked here, with a fault.
bool has_stages(const ExportedDirectory& directory, VerifyReport& report) {
  if (!directory.config) return false;
  const int64_t stages = directory.config->object("mapping").integer("pp_size", 1);
  if (stages == 1) return false;
  report.faults.push_back(concat(kCheckpointConfig, ": mapping.pp_size = ", stages,
                                 ", expected 1: scales are numbered over the whole model, and ",
                                 "files of pipeline stages are not checked; convert with ",
                                 "--pp_size 1"));
  return true;
}

// As asked for, as config.json says, as the summary says, or as many files as are there.
int64_t expected_ranks(const ExportedDirectory& directory, int64_t files, VerifyReport& report) {
  int64_t ranks = directory.serving_ranks.value_or(files);
  if (!directory.config) return ranks;
  const JsonObject mapping = directory.config->object("mapping");
  if (!mapping.has("tp_size")) return ranks;
  const int64_t stated = mapping.integer("tp_size");
  if (directory.serving_ranks && ranks != stated)
    report.faults.push_back(concat(kCheckpointConfig, ": mapping.tp_size = ", stated, ", expected ",
                                   ranks, "; export with --serving-tp ", stated));
  return stated;
}

// Whether there is a file of each rank and no other, with a fault where not.
bool check_files(const ExportedDirectory& directory, VerifyReport& report) {
  int64_t files = 0;
  for (const std::string& name : list_directory(directory.path)) files += is_rank_file(name);
  const int64_t ranks = report.serving_ranks = expected_ranks(directory, files, report);
  std::vector<std::string> missing;
  for (int64_t rank = 0; rank < std::min(ranks, files + 1); ++rank)
    if (!directory.has(rank_file(rank))) missing.push_back(rank_file(rank));
  if (missing.empty() && files > 0 && files == ranks) return true;
  report.faults.push_back(
      concat(files, " files ", rank_file(0), " .., expected those of ", std::max<int64_t>(1, ranks),
             " ranks",
             missing.empty() ? std::string() : concat(", and ", some_of(missing), " is not here"),
             "; export with --serving-tp"));
  return false;
}

// [layers], of one rank.
std::vector<float> read_rank(const ExportedDirectory& directory, int64_t rank, int64_t layers,
                             VerifyReport& report) {
  RankScales found = read_rank_scales(directory.path / rank_file(rank), layers);
  const auto fault = [&](const std::vector<std::string>& names, const auto&... parts) {
    if (!names.empty()) report.faults.push_back(concat(rank_file(rank), ": ", parts...));
  };
  const auto some = [](const std::vector<std::string>& names) {
    return names.empty() ? std::string() : some_of(names);
  };
  fault(found.missing, "has no tensor ", some(found.missing), "; export again");
  add_faults(rank_file(rank), found.malformed, report);
  fault(found.superfluous, "has ", some(found.superfluous), " of a model of ", layers,
        " layers; export again");
  return std::move(found.scales);
}

}  // namespace

void verify_rank_files(const ExportedDirectory& directory, VerifyReport& report) {
  check_algorithm(directory, report);
  if (has_stages(directory, report) || !check_files(directory, report)) return;
  const int64_t ranks = report.serving_ranks;
  const int64_t layers =
      directory.layers > 0 ? directory.layers : layers_of_rank(directory.path / rank_file(0));
  if (layers == 0)
    report.faults.push_back(
        concat(rank_file(0), ": has no tensor '", rank_tensor(0), "'; export again"));
  ScaleTable table(static_cast<size_t>(layers));
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const std::vector<float> scales = read_rank(directory, rank, layers, report);
    for (size_t layer = 0; layer < scales.size(); ++layer)
      table[layer].keys.push_back(scales[layer]);
  }
  check_values(kAllFiles, table, report);
  if (directory.statistics)
    compare_scales(kAllFiles, table,
                   shared_scales_by_rank(directory.statistics->statistics, ranks, kLargestInt8),
                   report);
}

}  // namespace kvcalib
