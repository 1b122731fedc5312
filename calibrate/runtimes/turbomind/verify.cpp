// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/verify.h"

#include <algorithm>
#include <set>

#include "calibrate/output/file_operations.h"
#include "calibrate/output/weights_transaction.h"
#include "calibrate/runtimes/turbomind/config_patch.h"
#include "calibrate/runtimes/turbomind/rules.h"
#include "calibrate/runtimes/turbomind/verify_scales.h"
#include "calibrate/runtimes/turbomind/verify_statistics.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/formats/turbomind_directory.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

// One look at a directory; fills a report.
class Verification {
 public:
  Verification(const fs::path& directory, const TurboMindRelease& release)
      : directory_(directory), release_(release), names_(list_directory(directory)) {}

  VerifyReport run(std::optional<int64_t> serving_ranks) {
    if (!read_model_of_statistics(serving_ranks)) read_config(serving_ranks);
    read_weights();
    check_model();
    const ScaleFiles files =
        check_scale_files({directory_, names_, release_, model_.has_value()}, report_);
    // Files for another number of ranks are one fault: none of them is what it would be for these.
    const bool comparable = ranks_of_files() == report_.serving_ranks;
    if (model_ && has(kStatisticsFileName))
      compare_with_statistics(directory_, *model_, weights_ ? &*weights_ : nullptr, release_,
                              comparable ? files : ScaleFiles{}, report_);
    note_surroundings();
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

  int64_t ranks_of_files() const {
    std::set<int64_t> ranks;
    for (const std::string& name : names_)
      if (const auto id = parse_scale_file_name(name)) ranks.insert(id->rank);
    return static_cast<int64_t>(ranks.size());
  }

  bool read_model_of_statistics(std::optional<int64_t> serving_ranks);
  void read_config(std::optional<int64_t> serving_ranks);
  void read_weights();
  void check_model();
  void note_surroundings();

  const fs::path& directory_;
  const TurboMindRelease& release_;
  const std::vector<std::string> names_;
  std::optional<ModelConfig> model_;
  std::optional<TurboMindDirectory> weights_;
  VerifyReport report_;
};

// Scales made from a Hugging Face directory have no config.ini: statistics say what the model is.
bool Verification::read_model_of_statistics(std::optional<int64_t> serving_ranks) {
  if (kind_behind(directory_ / kTurboMindConfig) != FileKind::kNothing ||
      kind_behind(directory_ / kStatisticsFileName) == FileKind::kNothing)
    return false;
  try {
    const ModelConfig model = read_statistics(directory_ / kStatisticsFileName).provenance.model;
    if (!model.own_rotation) return false;  // TurboMind's own, whose config.ini is missing
    model_ = model;
  } catch (const Error&) {
    return false;  // said when they are compared with the scales
  }
  note("no ", kTurboMindConfig, " here: the files are checked against ", kStatisticsFileName,
       "; the weights ", "they will be served with need quant_policy = 4");
  report_.layers = model_->layers;
  report_.serving_ranks = serving_ranks.value_or(std::max<int64_t>(1, ranks_of_files()));
  return true;
}

void Verification::read_config(std::optional<int64_t> serving_ranks) {
  try {
    const IniFile config = IniFile::read(directory_ / kTurboMindConfig);
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
  const RuntimeFindings found = findings_in_config(
      {.config = *model_, .ranks = report_.serving_ranks, .embedding_rows = rows}, release_);
  for (const std::string& text : found.faults) fault(kTurboMindConfig, ": ", text);
  for (const std::string& text : found.warnings) note(kTurboMindConfig, ": ", text);
}

void Verification::note_surroundings() {
  if (WeightsTransaction::is_pending(directory_)) {
    note("an in-place run is at work here or was killed; the next in-place run finishes it");
  }
  if (has("outputs_stats.pth")) {
    note("outputs_stats.pth: ", since(&TurboMindRelease::takes_outputs_stats_for_awq, "and"),
         " take a folder with this file for AWQ weights; move it away");
  }
  if (const std::string how = serving_note(release_); !how.empty()) note(how);
}

}  // namespace

VerifyReport verify_directory(const fs::path& directory, const TurboMindRelease& release,
                              std::optional<int64_t> serving_ranks) {
  if (kind_behind(directory) != FileKind::kDirectory) {
    throw Error(concat(directory.string(), ": no directory; expected one with scale files and ",
                       kTurboMindConfig));
  }
  return Verification(directory, release).run(serving_ranks);
}

}  // namespace kvcalib
