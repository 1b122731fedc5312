// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/turbomind.h"

#include "calibrate/runtimes/turbomind/config_patch.h"
#include "calibrate/runtimes/turbomind/deployed_config.h"
#include "calibrate/runtimes/turbomind/rotation.h"
#include "calibrate/runtimes/turbomind/rules.h"
#include "calibrate/runtimes/turbomind/scale_files.h"
#include "calibrate/runtimes/turbomind/verify.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// A release of TurboMind as what a delivery needs to know of any runtime.
class TurboMind final : public Runtime {
 public:
  explicit TurboMind(const TurboMindRelease& release) : release_(release) {}

  std::string release() const override { return release_.name(); }
  std::string title() const override { return "TurboMind " + release_.name(); }

  RuntimeFindings examine(const ServedModel& model) const override {
    RuntimeFindings found = findings_in_config(model, release_);
    for (std::string& warning : calibration_warnings(model, release_))
      found.warnings.push_back(std::move(warning));
    return found;
  }
  bool holds_zero_points() const override { return release_.scale_values == 4; }
  int64_t longest_session() const override { return release_.longest_int8_prefill; }
  Rotation rotation(const ModelConfig& config, int64_t length) const override {
    return rotation_on(release_, config, length);
  }
  DecodingRule decoding() const override { return release_.decoding; }

  // For weights of its own also config.ini as it has to be, and what that changes.
  std::vector<OutputFile> files(const CalibratedModel& model) const override {
    std::vector<OutputFile> files = scale_files(model.scales, model.ranks, release_);
    const IniFile* const config = model.weights.runtime_config();
    if (config == nullptr) return files;
    const IniFile patched = patch_config(*config, release_);
    files.push_back({kTurboMindConfig, patched.text()});
    if (patched.text() != config->text())
      files.push_back({kConfigPatchName, config_patch(*config, patched)});
    return files;
  }
  std::string files_in_words(const ModelConfig& config, int64_t ranks) const override {
    return concat(
        config.layers * ranks, " files ", scale_file_name(0, 0), " .. ",
        scale_file_name(config.layers - 1, ranks - 1), " of ",
        sizeof(float) * static_cast<size_t>(release_.scale_values), " bytes",
        config.own_rotation ? "" : concat(", ", kTurboMindConfig, ", ", kConfigPatchName));
  }
  std::string beside_scales_in_words(const WeightDirectory& weights) const override {
    return weights.runtime_config() == nullptr ? "" : kTurboMindConfig;
  }
  VerifyReport verify(const std::filesystem::path& directory,
                      std::optional<int64_t> serving_ranks) const override {
    return verify_directory(directory, release_, serving_ranks);
  }
  std::string serving_note() const override { return kvcalib::serving_note(release_); }

 private:
  const TurboMindRelease& release_;
};

}  // namespace

OutputNames turbomind_file_names() {
  const auto is_scale_file = [](std::string_view name) {
    return parse_scale_file_name(name).has_value();
  };
  return {[is_scale_file](std::string_view name) {
            return name == kTurboMindConfig || name == kConfigPatchName || is_scale_file(name);
          },
          is_scale_file, is_scale_file_name, "KV scale files", kTurboMindConfig};
}

int64_t turbomind_embedding_rows(const ModelConfig& shape) {
  return padded_rows(shape.vocab, shape.stored_ranks);
}

StoredScales read_turbomind_scales(const std::filesystem::path& directory) {
  return read_scales(directory);
}

std::unique_ptr<const Runtime> open_turbomind(std::string_view release) {
  return std::make_unique<TurboMind>(find_turbomind_release(release));
}

}  // namespace kvcalib
