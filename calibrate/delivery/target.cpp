// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/target.h"

#include "calibrate/engine/attention.h"
#include "calibrate/output/output_directory.h"
#include "calibrate/output/weights_transaction.h"
#include "calibrate/runtimes/turbomind/rotation.h"
#include "calibrate/runtimes/turbomind/unified_diff.h"
#include "sharding/files/error.h"
#include "sharding/formats/turbomind_directory.h"

namespace kvcalib {

namespace {

const char* name(RopeScaling::Kind kind) {
  switch (kind) {
    case RopeScaling::Kind::kNone:
      return "none";
    case RopeScaling::Kind::kLinear:
      return "linear";
    case RopeScaling::Kind::kDynamic:
      return "dynamic";
    case RopeScaling::Kind::kLlama3:
      return "llama3";
    case RopeScaling::Kind::kQwen:
      return "use_dynamic_ntk";
  }
  return "";
}

// The model as that release's converter would describe it in config.ini (lmdeploy/turbomind/deploy,
// source_model/llama.py and qwen.py v0.3.0; deploy.py v0.0.12).
ModelConfig as_converted(const ModelConfig& model, const RuntimeRelease& release) {
  ModelConfig converted = model;
  converted.own_rotation.reset();
  const RopeScaling& scaling = *model.own_rotation;
  const bool dynamic = scaling.kind == RopeScaling::Kind::kDynamic;
  converted.use_dynamic_ntk = scaling.kind == RopeScaling::Kind::kQwen || dynamic;
  if (dynamic || (scaling.kind == RopeScaling::Kind::kLinear && release >= RuntimeRelease(0, 3, 0)))
    converted.rope_scaling_factor = scaling.factor;
  return converted;
}

}  // namespace

Target resolve_target(const ModelConfig& config, const ScaleOptions& options,
                      int64_t embedding_rows, int64_t length) {
  const RuntimeRelease release = RuntimeRelease::parse(options.runtime);
  const int64_t ranks = options.serving_ranks.value_or(config.stored_ranks);
  const bool two_values = release.scale_values() == 2;
  Target target{
      release, ranks,
      options.symmetric || two_values ? ScaleMethod::kSymmetric : ScaleMethod::kAsymmetric,
      check_runtime(config, release, ranks, embedding_rows)};
  if (two_values && !options.symmetric)
    target.warnings.push_back(
        concat(release.name(), " knows only symmetric scales: zero points are 0"));
  if (config.own_rotation && rotation_on(release, config, length) !=
                                 rotation_on(release, as_converted(config, release), length))
    target.warnings.push_back(concat(
        "rotary scaling ", name(config.own_rotation->kind), " at ", length, " tokens: ",
        release.name(), " rotates K otherwise than the model's own code, whose ranges these are"));
  if (effective_window(config, length) > 0)
    target.warnings.push_back(
        concat("sliding window of ", config.sliding_window, " tokens: ", release.name(),
               " attends to all ", length,
               " of a window, and its K and V will be others; windows of at most ",
               config.sliding_window, " tokens (--length) are the same there"));
  if (config.query_key_norm)
    target.warnings.push_back(concat("q and k are normalised in this model; ", release.name(),
                                     " does not do that, and cannot serve it"));
  return target;
}

int64_t effective_window(const ModelConfig& config, int64_t length) {
  return slides(length, config.sliding_window) ? config.sliding_window : 0;
}

int64_t runtime_embedding_rows(const WeightDirectory& directory) {
  const bool own = dynamic_cast<const TurboMindDirectory*>(&directory) != nullptr;
  return own ? directory.embedding().rows : 0;
}

std::unique_ptr<OutputTransaction> open_output(const OutputOptions& options,
                                               const std::filesystem::path& weights) {
  if (options.in_place && is_hugging_face(weights))
    throw Error(concat("--in-place: ", weights.string(), " is a Hugging Face directory, and the ",
                       "runtime reads scales beside its own weights; give --output DIR, or make ",
                       "its weights with kvcalib shard first"));
  if (options.in_place) return std::make_unique<WeightsTransaction>(weights, options.force);
  return std::make_unique<OutputDirectory>(*options.output, options.force);
}

std::vector<OutputFile> make_files(const WeightDirectory& directory, const Target& target,
                                   const std::vector<KvScale>& scales,
                                   const StatisticsFile& statistics) {
  std::vector<OutputFile> files = scale_files(scales, target.ranks, target.release);
  if (const auto* const own = dynamic_cast<const TurboMindDirectory*>(&directory)) {
    const IniFile& config = own->config_file();
    const IniFile patched = patch_config(config, target.release);
    files.push_back({"config.ini", patched.text()});
    if (patched.text() != config.text())
      files.push_back({"config.patch", unified_diff(config.text(), patched.text(), "a/config.ini",
                                                    "b/config.ini")});
  }
  files.push_back(
      {kStatisticsFileName, to_safetensors(statistics.statistics, statistics.provenance)});
  return files;
}

}  // namespace kvcalib
