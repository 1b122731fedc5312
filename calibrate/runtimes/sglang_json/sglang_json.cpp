// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/sglang_json/sglang_json.h"

#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "calibrate/runtimes/scale_checks.h"
#include "sharding/files/error.h"
#include "sharding/files/json_object.h"
#include "sharding/files/json_writer.h"

namespace kvcalib {
namespace {

constexpr const char* kFile = "kv_cache_scales.json";
constexpr const char* kType = "float8_e4m3fn";

constexpr auto kKnown =
    std::to_array<std::string_view>({"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM"});

void check(const ExportTarget& target) {
  if (target.checkpoint->model_type.empty())
    throw Error(concat((target.checkpoint->path / kCheckpointConfig).string(),
                       ": model_type is missing, and SGLang holds it against the file's; add it"));
  const int64_t heads = target.weights.config().kv_heads;
  if (heads % target.ranks != 0 && target.ranks % heads != 0)
    throw Error(concat("--serving-tp ", target.ranks, ": the model has ", heads,
                       " kv heads, expected a divisor or a multiple of that"));
}

std::vector<OutputFile> files(const ExportTarget& target, const StatisticsFile& statistics) {
  const ScaleTable table =
      shared_scales_by_rank(statistics.statistics, target.ranks, kLargestFloat8);
  nlohmann::ordered_json ranks = nlohmann::ordered_json::object();
  for (int64_t rank = 0; rank < target.ranks; ++rank)
    for (size_t layer = 0; layer < table.size(); ++layer)
      ranks[std::to_string(rank)][std::to_string(layer)] =
          table[layer].keys[static_cast<size_t>(rank)];
  return {
      {kFile, json_text({{"model_type", target.checkpoint->model_type},
                         {"kv_cache", {{"dtype", kType}, {"scaling_factor", std::move(ranks)}}}})}};
}

// [layers][ranks].  A scale that is not there is a fault, and NaN.
ScaleTable read_table(const JsonObject& factors, int64_t ranks, int64_t layers,
                      VerifyReport& report) {
  ScaleTable table(static_cast<size_t>(layers));
  std::vector<std::string> faults;
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const JsonObject of_rank = factors.object(std::to_string(rank));
    if (static_cast<int64_t>(of_rank.keys().size()) != layers)
      faults.push_back(concat("rank ", rank, " has ", of_rank.keys().size(), " layers, expected ",
                              layers, "; export again"));
    for (int64_t layer = 0; layer < layers; ++layer)
      table[static_cast<size_t>(layer)].keys.push_back(static_cast<float>(
          of_rank.number(std::to_string(layer), std::numeric_limits<double>::quiet_NaN())));
  }
  add_faults(kFile, faults, report);
  return table;
}

void verify(const ExportedDirectory& directory, VerifyReport& report) {
  const JsonObject json = JsonObject::read(directory.path / kFile);
  const auto fault = [&](const auto&... parts) {
    report.faults.push_back(concat(kFile, ": ", parts...));
  };
  const std::string model_type = json.text("model_type", "");
  if (directory.config && directory.config->text("model_type", "") != model_type)
    fault("model_type is '", model_type, "', and ", kCheckpointConfig, " has '",
          directory.config->text("model_type", ""), "': SGLang refuses it; export from this model");
  else if (model_type.empty())
    fault("model_type is missing: SGLang refuses it; export again");
  const JsonObject cache = json.object("kv_cache");
  if (cache.text("dtype", "") != kType)
    fault("dtype is '", cache.text("dtype", ""), "', expected ", kType);
  const JsonObject factors = cache.object("scaling_factor");
  const auto ranks = static_cast<int64_t>(factors.keys().size());
  report.serving_ranks = directory.serving_ranks.value_or(ranks);
  if (ranks != report.serving_ranks || ranks == 0)
    return fault("has scales of ", ranks, " ranks, expected ", report.serving_ranks,
                 ": SGLang refuses it; export with --serving-tp ", report.serving_ranks);
  const int64_t layers = directory.layers > 0
                             ? directory.layers
                             : static_cast<int64_t>(factors.object("0").keys().size());
  const ScaleTable table = read_table(factors, ranks, layers, report);
  check_values(kFile, table, report);
  if (directory.statistics)
    compare_scales(kFile, table,
                   shared_scales_by_rank(directory.statistics->statistics, ranks, kLargestFloat8),
                   report);
}

}  // namespace

const ScaleExporter kSglangJson = {
    .name = "sglang-json",
    .program = "SGLang",
    .title = "SGLang, FP8 E4M3 cache by --quantization-param-path",
    .formula = "absmax / 448 of the larger of K and V, one for a layer and rank",
    .source = "SGLang's weight_utils.py of 2025 to September 2026",
    .note =
        "serve with --kv-cache-dtype fp8_e4m3 --quantization-param-path kv_cache_scales.json "
        "and the --tp-size that it was made for",
    .architectures = kKnown,
    .counts_ranks = true,
    .is_ours = [](std::string_view file) { return file == kFile; },
    .files_in_words =
        [](int64_t layers, int64_t ranks) {
          return concat(kFile, " (", layers, " layers, ", ranks, " ranks)");
        },
    .check_own = check,
    .files = files,
    .verify = verify,
};

}  // namespace kvcalib
