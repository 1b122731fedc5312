// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/statistics_match.h"

#include "sharding/files/error.h"
#include "sharding/formats/fingerprint.h"
#include "sharding/formats/model_difference.h"

namespace kvcalib {
namespace {

void check_same_reading(const Provenance& provenance, const std::filesystem::path& file,
                        const WeightDirectory& directory) {
  if (const auto other = find_difference(provenance.model, directory.config(), provenance.length))
    throw Error(concat(file.string(), ": was taken with ", other->name, " = ", other->first,
                       ", and the model in ", directory.path().string(), " has ", other->second,
                       "; calibrate it again, or give the model as it was"));
}

}  // namespace

void check_same_model(const StatisticsFile& statistics, const std::filesystem::path& file,
                      const WeightDirectory& directory) {
  const std::string fingerprint = weights_fingerprint(directory);
  if (statistics.provenance.weights_fingerprint == fingerprint) return;
  throw Error(concat(file.string(), ": was taken from other weights (fingerprint ",
                     statistics.provenance.weights_fingerprint.substr(0, 16), ", ",
                     directory.path().string(), " has ", fingerprint.substr(0, 16),
                     "); give the weights it belongs to, or calibrate these"));
}

void check_same_arithmetic(const StatisticsFile& statistics, const std::filesystem::path& file,
                           const WeightDirectory& directory, const RuntimeRow& row,
                           const Runtime& runtime) {
  const Provenance& provenance = statistics.provenance;
  const auto observed = row.open(provenance.runtime);
  const ModelConfig& config = directory.config();
  if (observed->rotation(provenance.model, provenance.length) !=
      runtime.rotation(config, provenance.length))
    throw Error(concat(file.string(), ": was taken as ", observed->release(), " rotates K; ",
                       runtime.release(),
                       " rotates this model's otherwise (its keys of rope, NTK and logn); ",
                       "calibrate with --runtime ", runtime.release()));
  check_same_reading(provenance, file, directory);
}

void check_own_arithmetic(const StatisticsFile& statistics, const std::filesystem::path& file,
                          const WeightDirectory& directory, const RuntimeRow& row) {
  const Provenance& provenance = statistics.provenance;
  const auto observed = row.open(provenance.runtime);
  if (observed->rotation(provenance.model, provenance.length) !=
      observed->rotation(directory.config(), provenance.length))
    throw Error(concat(file.string(), ": was taken as ", observed->title(), " rotates K, and the ",
                       "code of the model in ", directory.path().string(), " rotates otherwise; ",
                       "calibrate that directory"));
  check_same_reading(provenance, file, directory);
}

void check_histograms(const StatisticsFile& statistics, const std::filesystem::path& file,
                      const ScaleMethod& method) {
  if (!method.needs_histograms() || !statistics.statistics.key_histograms.empty()) return;
  throw Error(concat(
      file.string(), ": has no histograms (tensors 'key.counts' and on), of which ", "--method ",
      method.text(), " is made; calibrate with --histograms",
      statistics.provenance.equalised ? ", the equalised weights: it has none of them" : ""));
}

std::vector<std::string> session_warnings(const StatisticsFile& statistics,
                                          const std::filesystem::path& file,
                                          int64_t session_length) {
  const int64_t window = statistics.provenance.length;
  if (!statistics.statistics.key_reach.empty() || session_length <= window) return {};
  return {concat(file.string(), ": does not tell what K's rotation does beyond its windows of ",
                 window, " tokens, and sessions have ", session_length,
                 ": a range may be too narrow there; calibrate again")};
}

}  // namespace kvcalib
