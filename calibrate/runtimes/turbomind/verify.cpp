// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/verify.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "calibrate/output/file_operations.h"
#include "calibrate/output/weights_transaction.h"
#include "calibrate/runtimes/turbomind/scale_files.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/files/error.h"
#include "sharding/files/file_bytes.h"
#include "sharding/formats/fingerprint.h"
#include "sharding/formats/turbomind_directory.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

// Int8 can say 0 within a step when -zero / scale lies here.  A range that ends at 0 gives 127.5
// (the ends of a range always lose half a step), or a little more where a tool computed in fp16.
constexpr float kHighestZero = 128.0f;
constexpr float kLowestZero = -129.0f;
constexpr int64_t kMostNamed = 16;  // files of a rank that are missing

// One look at a directory; fills a report.
class Verification {
 public:
  Verification(const fs::path& directory, const RuntimeRelease& release)
      : directory_(directory), release_(release), names_(list_directory(directory)) {}

  VerifyReport run(std::optional<int64_t> serving_ranks) {
    read_config(serving_ranks);
    read_weights();
    check_model();
    collect_scale_files();
    check_grid();
    for (const auto& [id, name] : files_) check_scale_file(id, name);
    check_one_method();
    compare_with_statistics();
    note_surroundings();
    report_.scale_files = static_cast<int64_t>(files_.size());
    return std::move(report_);
  }

 private:
  template <typename... Parts>
  void fault(const Parts&... parts) {
    report_.faults.push_back(concat(parts...));
  }
  template <typename... Parts>
  void note(const Parts&... parts) {
    report_.notes.push_back(concat(parts...));
  }

  bool has(std::string_view name) const {
    return std::binary_search(names_.begin(), names_.end(), name);
  }
  bool in_set(const ScaleFileId& id) const {
    return id.layer < report_.layers && id.rank < report_.serving_ranks;
  }

  bool read_model_of_statistics(std::optional<int64_t> serving_ranks);
  void read_config(std::optional<int64_t> serving_ranks);
  void read_weights();
  void check_model();
  void collect_scale_files();
  void check_grid();
  void check_missing(int64_t rank);
  std::string effect() const;
  void check_scale_file(const ScaleFileId& id, const std::string& name);
  void check_scale(const std::string& name, const char* tensor, float scale, float zero);
  void check_one_method();
  void compare_with_statistics();
  void compare_scales(const KvStatistics& statistics);
  void note_surroundings();

  fs::path directory_;
  RuntimeRelease release_;
  std::vector<std::string> names_;
  std::optional<ModelConfig> model_;
  std::optional<TurboMindDirectory> weights_;
  std::map<ScaleFileId, std::string> files_;  // names
  std::map<ScaleFileId, std::string> bytes_;  // of files of the right size that are in the set
  VerifyReport report_;
};

// Scales made from a Hugging Face directory have no config.ini: statistics say what the model is.
bool Verification::read_model_of_statistics(std::optional<int64_t> serving_ranks) {
  if (fs::exists(directory_ / "config.ini") || !fs::exists(directory_ / kStatisticsFileName))
    return false;
  try {
    const ModelConfig model = read_statistics(directory_ / kStatisticsFileName).provenance.model;
    if (!model.own_rotation) return false;  // TurboMind's own, whose config.ini is missing
    model_ = model;
  } catch (const Error&) {
    return false;  // said when they are compared with the scales
  }
  note("no config.ini here: the files are checked against ", kStatisticsFileName, "; the weights ",
       "they will be served with need quant_policy = 4");
  const auto of_first_layer = [](const std::string& name) {
    const auto id = parse_scale_file_name(name);
    return id && id->layer == 0;
  };
  report_.layers = model_->layers;
  report_.serving_ranks = serving_ranks.value_or(
      std::max<int64_t>(1, std::count_if(names_.begin(), names_.end(), of_first_layer)));
  return true;
}

void Verification::read_config(std::optional<int64_t> serving_ranks) {
  if (read_model_of_statistics(serving_ranks)) return;
  try {
    const IniFile config = IniFile::read(directory_ / "config.ini");
    for (std::string& found : config_faults(config, release_)) fault(found);
    model_ = read_model_config(config);
    report_.layers = model_->layers;
    report_.serving_ranks = serving_ranks.value_or(model_->stored_ranks);
  } catch (const Error& failure) {
    fault(failure.what());
  }
}

void Verification::read_weights() {
  const bool any = std::any_of(names_.begin(), names_.end(), [](const std::string& name) {
    return name.ends_with(".weight") && !is_scale_file_name(name);
  });
  if (!any) {
    note("no weights here: copy these files into the weights directory");
    return;
  }
  if (!model_) return;
  try {
    weights_ = TurboMindDirectory::open(directory_);
  } catch (const Error& failure) {
    note(failure.what());
  }
}

void Verification::check_model() {
  if (!model_) return;
  const int64_t rows = weights_ ? weights_->embedding_rows() : 0;
  RuntimeFindings found = examine_runtime(*model_, release_, report_.serving_ranks, rows);
  for (std::string& text : found.faults) fault("config.ini: ", text);
  for (std::string& text : found.warnings) note("config.ini: ", text);
}

void Verification::collect_scale_files() {
  for (const std::string& name : names_) {
    std::error_code failure;
    if (!is_scale_file_name(name) || !fs::exists(directory_ / name, failure)) continue;
    if (const auto id = parse_scale_file_name(name)) {
      files_[*id] = name;
    } else {
      fault(name, ": no name the runtime reads (", scale_file_name(0, 0), "); rename or remove it");
    }
  }
}

// Compares the files that are there with layers x serving ranks.
void Verification::check_grid() {
  if (files_.empty()) {
    fault(directory_.string(), ": has no KV scale files; calibrate it, or copy them here");
    return;
  }
  if (!model_) return;
  std::map<int64_t, int64_t> ranks, layers;  // how many files each has
  for (const auto& [id, name] : files_) {
    ++ranks[id.rank];
    if (id.layer >= report_.layers) ++layers[id.layer];
  }
  int64_t served = 0;
  for (const auto& [rank, count] : ranks) {
    if (rank < report_.serving_ranks) {
      check_missing(rank);
      ++served;
    } else {
      fault("rank ", rank, ": has ", count, " scale files, but ", report_.serving_ranks,
            " ranks are served: scales cut for more ranks clip the values of fewer; export again ",
            "with --serving-tp ", report_.serving_ranks, ", or verify with what is served");
    }
  }
  if (served < report_.serving_ranks) {
    fault(served, " of ", report_.serving_ranks, " serving ranks have scale files: ", effect(),
          "; export them with --serving-tp ", report_.serving_ranks);
  }
  for (const auto& [layer, count] : layers) {
    fault("layer ", layer, ": has ", count, " scale files, but num_layer = ", report_.layers,
          "; these files are another model's");
  }
}

// What the runtime does without a scale file.
std::string Verification::effect() const {
  return concat(release_.name(), release_ < RuntimeRelease(0, 1, 0)
                                     ? " would crash"
                                     : " would silently take scale 1 and zero 0");
}

// Names the layers that a rank lacks; ends early however many layers config.ini claims.
void Verification::check_missing(int64_t rank) {
  int64_t missing = report_.layers;
  for (const auto& [id, name] : files_) missing -= id.rank == rank && id.layer < report_.layers;
  int64_t named = 0;
  for (int64_t layer = 0; named < std::min(missing, kMostNamed); ++layer) {
    if (files_.contains({layer, rank})) continue;
    fault(scale_file_name(layer, rank), ": missing: ", effect(), "; calibrate or export again");
    ++named;
  }
  if (missing > named) {
    fault("rank ", rank, ": ", missing - named, " more scale files are missing");
  }
}

void Verification::check_scale_file(const ScaleFileId& id, const std::string& name) {
  std::string bytes;
  try {
    bytes = read_file(directory_ / name);
  } catch (const Error& failure) {
    fault(failure.what());
    return;
  }
  const auto expected = static_cast<size_t>(release_.scale_values()) * sizeof(float);
  if (bytes.size() != expected) {
    fault(name, ": has ", bytes.size(), " bytes, ", release_.name(), " reads ", expected,
          "; export again with --runtime ", release_.name());
    return;
  }
  const KvScale scale = *parse_scale_file(bytes);
  if (scale == KvScale{}) {
    fault(name, ": scale 1 and zero 0 for K and V, which is what no calibration gives");
    return;
  }
  check_scale(name, "K", scale.k_scale, scale.k_zero);
  check_scale(name, "V", scale.v_scale, scale.v_zero);
  if (in_set(id)) bytes_[id] = std::move(bytes);
}

void Verification::check_scale(const std::string& name, const char* tensor, float scale,
                               float zero) {
  if (!std::isfinite(scale) || !std::isfinite(zero)) {
    fault(name, ": ", tensor, " has scale ", scale, " and zero ", zero,
          "; expected finite numbers");
  } else if (scale <= 0.0f) {
    fault(name, ": ", tensor, " has scale ", scale, "; expected a positive number");
  } else if (const float steps = -zero / scale; steps > kHighestZero || steps < kLowestZero) {
    fault(name, ": ", tensor, " has scale ", scale, " and zero ", zero, ": its int8 range [",
          zero - 128.0f * scale, ", ", zero + 127.0f * scale, "] does not hold 0");
  }
}

// A symmetric file among asymmetric ones is of another run.
void Verification::check_one_method() {
  std::vector<std::string> symmetric;
  bool asymmetric = false;
  for (const auto& [id, bytes] : bytes_) {
    const KvScale scale = *parse_scale_file(bytes);
    const bool centred = scale.k_zero == 0.0f && scale.v_zero == 0.0f;
    const bool degenerate = scale.k_scale <= kSmallestScale && scale.v_scale <= kSmallestScale;
    asymmetric = asymmetric || !centred;
    if (centred && !degenerate) symmetric.push_back(scale_file_name(id.layer, id.rank));
  }
  if (!asymmetric) return;
  for (const std::string& name : symmetric) {
    fault(name, ": symmetric among asymmetric scales; the files are of different runs");
  }
}

void Verification::compare_with_statistics() {
  if (!has(kStatisticsFileName) || !model_ || report_.serving_ranks < 1) return;
  try {
    const StatisticsFile file = read_statistics(directory_ / kStatisticsFileName);
    const KvStatistics& statistics = file.statistics;
    if (statistics.layers != model_->layers || statistics.kv_heads != model_->kv_heads ||
        statistics.head_dim != model_->head_dim) {
      fault(kStatisticsFileName, ": statistics of ", statistics.layers, " layers of ",
            statistics.kv_heads, " kv heads x ", statistics.head_dim, ", but config.ini has ",
            model_->layers, " of ", model_->kv_heads, " x ", model_->head_dim);
      return;
    }
    if (weights_ && weights_fingerprint(*weights_) != file.provenance.weights_fingerprint) {
      fault(kStatisticsFileName, ": statistics of other weights than those here; calibrate again");
    }
    compare_scales(statistics);
  } catch (const Error& failure) {
    fault(failure.what());
  }
}

// Takes the method that explains more files and names those that it does not.
void Verification::compare_scales(const KvStatistics& statistics) {
  std::optional<std::vector<std::string>> fewest;
  for (const ScaleMethod& method : ScaleMethod::all()) {
    if (!method.is_symmetric() && release_.scale_values() == 2) continue;
    const auto scales = compute_scales(statistics, report_.serving_ranks, method);
    std::vector<std::string> others;
    for (const auto& [id, bytes] : bytes_) {
      const auto index = static_cast<size_t>(id.layer * report_.serving_ranks + id.rank);
      if (scale_file_bytes(scales[index], release_) != bytes) {
        others.push_back(scale_file_name(id.layer, id.rank));
      }
    }
    if (!fewest || others.size() < fewest->size()) fewest = std::move(others);
  }
  for (const std::string& name : *fewest) {
    fault(name, ": not what ", kStatisticsFileName, " gives for ", report_.serving_ranks,
          " serving ranks; the files are of different runs: export again");
  }
  report_.compared_with_statistics = true;
}

void Verification::note_surroundings() {
  if (WeightsTransaction::is_pending(directory_)) {
    note("an in-place run is at work here or was killed; the next in-place run finishes it");
  }
  if (has("outputs_stats.pth")) {
    note(
        "outputs_stats.pth: v0.2.2 and later take a folder with this file for AWQ weights; move "
        "it away");
  }
  if (std::string how = serving_note(release_); !how.empty()) note(how);
}

}  // namespace

VerifyReport verify_directory(const fs::path& directory, const RuntimeRelease& release,
                              std::optional<int64_t> serving_ranks) {
  std::error_code failure;
  if (!fs::is_directory(directory, failure)) {
    throw Error(concat(directory.string(), ": no directory; expected one with scale files and ",
                       "config.ini"));
  }
  return Verification(directory, release).run(serving_ranks);
}

}  // namespace kvcalib
