// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/evaluation_streams.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <utility>

#include "calibrate/command/nearest.h"
#include "calibrate/command/statistics_match.h"
#include "calibrate/runtimes/turbomind/scale_files.h"
#include "calibrate/statistics/cache_scales.h"
#include "calibrate/statistics/session_ranges.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"

namespace kvcalib {
namespace {

using Kind = CacheFormat::Kind;

// Formats that are tried beside the runtime's, by the names of --formats.
struct OtherFormat {
  const char* name;
  const char* description;
  Kind kind;
  CacheScales (*scales)(const KvStatistics&);  // null: none, and no statistics are needed
};
constexpr std::array kOtherFormats = {
    OtherFormat{"per-head", "int8, static, each kv head", Kind::kInt8, scales_of_heads},
    OtherFormat{"per-channel", "int8, static, each channel", Kind::kInt8, scales_of_channels},
    OtherFormat{"per-token", "int8, each token and kv head as it comes (LMDeploy v0.4 and later)",
                Kind::kInt8OfToken, nullptr},
    OtherFormat{"fp8", "FP8 E4M3, static, each layer", Kind::kFloat8, float8_scales},
};

const OtherFormat& find_format(const std::string& name) {
  std::vector<std::string> names;
  for (const OtherFormat& format : kOtherFormats) {
    if (name == format.name) return format;
    names.emplace_back(format.name);
  }
  throw UsageError(concat("--formats ", name, ": no such format; there are per-head, per-channel, ",
                          "per-token and fp8", suggestion(name, names)));
}

bool is_symmetric(const std::vector<KvScale>& scales) {
  return std::all_of(scales.begin(), scales.end(),
                     [](const KvScale& scale) { return scale.k_zero == 0 && scale.v_zero == 0; });
}

TriedCache static_int8(const std::string& name, const std::string& origin,
                       const std::vector<KvScale>& scales, int64_t ranks,
                       const WeightDirectory& weights, const Runtime& runtime) {
  CacheScales spread = scales_of_ranks(scales, ranks, weights.config());
  return {
      {name, concat("int8 ", is_symmetric(scales) ? "symmetric" : "asymmetric", ", ", origin, ", ",
                    ranks, ranks == 1 ? " rank" : " ranks", ", as ", runtime.title(), " keeps it")},
      {Kind::kInt8, std::move(spread.keys), std::move(spread.values)},
      ranks,
      scales};
}

void check_scale(const TensorScale& scale, const char* symbol, const std::filesystem::path& file) {
  if (std::isfinite(scale.scale) && scale.scale > 0 && std::isfinite(scale.zero)) return;
  throw Error(concat(file.string(), ": the step of ", symbol, " is ", scale.scale,
                     " and its zero point ", scale.zero,
                     ", expected a positive and a finite number; calibrate again"));
}

std::vector<std::filesystem::path> check_scales(const StoredScales& stored,
                                                const std::filesystem::path& directory,
                                                const WeightDirectory& weights,
                                                const Runtime& runtime) {
  const ModelConfig& config = weights.config();
  if (stored.layers != config.layers)
    throw Error(concat(directory.string(), ": has scales of ", stored.layers, " layers, the model ",
                       config.layers, "; give those that were made for it"));
  const int64_t values = runtime.holds_zero_points() ? 4 : 2;
  if (stored.values != values)
    throw Error(concat(directory.string(), ": its scale files hold ", stored.values, " values, ",
                       runtime.title(), " reads ", values,
                       " and would take them for something else; give the release that they ",
                       "were made for, --runtime VERSION, or make them for this one"));
  if (config.kv_heads % stored.ranks != 0)
    throw Error(concat(directory.string(), ": has scales of ", stored.ranks, " ranks, which the ",
                       config.kv_heads, " kv heads of the model cannot be dealt to"));
  std::vector<std::filesystem::path> files;
  for (size_t i = 0; i < stored.scales.size(); ++i) {
    const auto index = static_cast<int64_t>(i);
    files.push_back(directory / scale_file_name(index / stored.ranks, index % stored.ranks));
    check_scale(stored.scales[i].key(), "K", files.back());
    check_scale(stored.scales[i].value(), "V", files.back());
  }
  return files;
}

// Streams by the last part of their place, or all of it where that is not theirs alone: no two have
// the same.
class Names {
 public:
  explicit Names(size_t streams) : single_(streams == 1) {}

  std::string of(const std::filesystem::path& place) {
    if (single_) return "int8";
    const std::filesystem::path whole = place.lexically_normal();
    std::string name =
        (whole.has_filename() ? whole.filename() : whole.parent_path().filename()).string();
    if (name.empty() || is_taken(name)) name = place.string();
    if (is_taken(name))
      throw UsageError(concat(name, ": two streams would be called so; give it once"));
    taken_.push_back(name);
    return name;
  }

 private:
  bool is_taken(const std::string& name) const {
    return std::find(taken_.begin(), taken_.end(), name) != taken_.end();
  }

  const bool single_;
  std::vector<std::string> taken_ = {"fp16", "bf16", "per-head", "per-channel", "per-token", "fp8"};
};

StatisticsFile read_own_statistics(const std::filesystem::path& file,
                                   const EvaluateOptions& options, const WeightDirectory& weights,
                                   const Runtime& runtime) {
  StatisticsFile statistics = read_statistics(file);
  check_same_model(statistics, file, weights);
  check_same_arithmetic(statistics, file, weights, options.runtime.row(), runtime);
  statistics.statistics =
      runtime.served_ranges(statistics, weights.config(),
                            runtime.served_session(weights.config(), options.session_length));
  return statistics;
}

std::vector<ScaleMethod> methods_of(const EvaluateOptions& options, const Runtime& runtime) {
  if (options.methods.empty())
    return {runtime.holds_zero_points() ? ScaleMethod::kAsymmetric : ScaleMethod::kSymmetric};
  for (const ScaleMethod& method : options.methods)
    if (!runtime.holds_zero_points() && method != ScaleMethod::kSymmetric)
      throw UsageError(concat("--method ", method.text(), ": ", runtime.title(),
                              " holds no zero points; give symmetric, or a later release"));
  return options.methods;
}

// Scales that do not fit the cut of the weights.
void note_ranks(TriedCaches& tried, const std::filesystem::path& source, int64_t ranks,
                int64_t cut) {
  if (cut > 1 && ranks != cut)
    tried.notes.push_back(concat("scales of ", source.string(), " are for ", ranks,
                                 ranks == 1 ? " rank" : " ranks", ", the weights are cut for ", cut,
                                 ": measured, but not to be served together"));
}

}  // namespace

TriedCaches tried_caches(const EvaluateOptions& options, const WeightDirectory& weights,
                         const Runtime& runtime) {
  TriedCaches tried;
  tried.caches.push_back(
      {{name(weights.config().weight_type) == std::string("float16") ? "fp16" : "bf16",
        "K and V in 16 bits"},
       {},
       1});
  std::vector<std::string> directories = options.scales;
  if (directories.empty() && options.statistics.empty() && options.formats.empty())
    directories.push_back(options.weights.string());
  Names names(directories.size() + options.statistics.size());
  for (const std::filesystem::path directory : directories) {
    if (kind_behind(directory) != FileKind::kDirectory)
      throw Error(concat("--scales ", directory.string(), ": is no directory"));
    const StoredScales stored = options.runtime.row().read_scales(directory);
    const auto files = check_scales(stored, directory, weights, runtime);
    note_ranks(tried, directory, stored.ranks, weights.config().stored_ranks);
    tried.files.insert(tried.files.end(), files.begin(), files.end());
    tried.caches.push_back(static_int8(names.of(directory), directory.string(), stored.scales,
                                       stored.ranks, weights, runtime));
  }
  std::vector<StatisticsFile> statistics;
  const int64_t ranks = options.serving_ranks.value_or(weights.config().stored_ranks);
  const std::vector<ScaleMethod> methods = methods_of(options, runtime);
  for (const std::filesystem::path file : options.statistics) {
    statistics.push_back(read_own_statistics(file, options, weights, runtime));
    tried.files.push_back(file);
    note_ranks(tried, file, ranks, weights.config().stored_ranks);
    const std::string name = names.of(file);
    const int64_t session = runtime.served_session(weights.config(), options.session_length);
    const int64_t length = known_length(statistics.back(), session);
    const std::string beyond = length > statistics.back().provenance.length
                                   ? concat(" for sessions of ", length, " tokens")
                                   : std::string();
    for (std::string& warning : session_warnings(statistics.back(), file, session))
      tried.notes.push_back(std::move(warning));
    for (const ScaleMethod& method : methods) {
      check_histograms(statistics.back(), file, method);
      tried.caches.push_back(static_int8(
          methods.size() == 1 ? name : concat(name, " ", method.text()),
          concat(method.text(), " of ", file.string(), beyond),
          compute_scales(statistics.back().statistics, ranks, method), ranks, weights, runtime));
    }
  }
  for (const std::string& asked : options.formats) {
    const OtherFormat& other = find_format(asked);
    for (const TriedCache& cache : tried.caches)
      if (cache.info.name == asked)
        throw UsageError(concat("--formats ", asked, ": is named twice; name it once"));
    CacheFormat format{other.kind, {}, {}};
    if (other.scales != nullptr) {
      if (statistics.empty())
        throw UsageError(concat("--formats ", asked, ": is made of statistics; give --stats FILE"));
      CacheScales scales = other.scales(statistics.front().statistics);
      format.keys = std::move(scales.keys);
      format.values = std::move(scales.values);
    }
    tried.caches.push_back(
        {{other.name, other.description, true}, std::move(format), weights.config().stored_ranks});
  }
  return tried;
}

}  // namespace kvcalib
