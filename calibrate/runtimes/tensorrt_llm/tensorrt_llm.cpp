// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/tensorrt_llm/tensorrt_llm.h"

#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "calibrate/output/file_operations.h"
#include "calibrate/runtimes/overlay_file.h"
#include "calibrate/runtimes/scale_checks.h"
#include "sharding/files/error.h"
#include "sharding/files/json_object.h"
#include "sharding/files/json_writer.h"

namespace kvcalib {
namespace {

constexpr std::string_view kBegin = "rank", kEnd = ".safetensors";
constexpr const char* kAlgorithm = "INT8";

std::string file_of(int64_t rank) { return concat(kBegin, rank, kEnd); }

bool is_rank_file(std::string_view file) {
  if (!file.starts_with(kBegin) || !file.ends_with(kEnd)) return false;
  if (file.size() <= kBegin.size() + kEnd.size()) return false;
  const std::string_view rank =
      file.substr(kBegin.size(), file.size() - kBegin.size() - kEnd.size());
  return rank.find_first_not_of("0123456789") == std::string_view::npos &&
         (rank.size() == 1 || rank.front() != '0');
}

std::string tensor_of(int64_t layer) {
  return concat("transformer.layers.", layer, ".attention.kv_cache_scaling_factor");
}

void check(const ExportTarget& target) {
  const int64_t heads = target.weights.config().kv_heads;
  if (heads % target.ranks != 0 && target.ranks % heads != 0)
    throw Error(concat("--serving-tp ", target.ranks, ": the model has ", heads,
                       " kv heads, expected a divisor or a multiple of that"));
}

std::vector<OutputFile> files(const ExportTarget& target, const StatisticsFile& statistics) {
  const ScaleTable table = shared_scales_by_rank(statistics.statistics, target.ranks, kLargestInt8);
  std::vector<OutputFile> files;
  for (int64_t rank = 0; rank < target.ranks; ++rank) {
    OverlayTensors tensors;
    for (size_t layer = 0; layer < table.size(); ++layer)
      tensors[tensor_of(static_cast<int64_t>(layer))] = {
          "F32", {1}, float32_bytes({table[layer].keys[static_cast<size_t>(rank)]})};
    files.push_back({file_of(rank), safetensors_of(tensors)});
  }
  files.push_back(
      {kConfigMerge, json_text({{"quantization", {{"kv_cache_quant_algo", kAlgorithm}}}})});
  return files;
}

// [layers], of one rank.  What is not there is a fault, and NaN.
std::vector<float> read_rank(const ExportedDirectory& directory, int64_t rank, int64_t layers,
                             VerifyReport& report) {
  const Safetensors file = Safetensors::read(directory.path / file_of(rank));
  std::vector<float> scales;
  for (int64_t layer = 0; layer < layers; ++layer) {
    float scale = std::numeric_limits<float>::quiet_NaN();
    const auto found = file.tensors.find(tensor_of(layer));
    if (found == file.tensors.end())
      report.faults.push_back(
          concat(file_of(rank), ": has no tensor '", tensor_of(layer), "'; export again"));
    else if (found->second.dtype != "F32" || found->second.shape != std::vector<int64_t>{1})
      report.faults.push_back(concat(file_of(rank), ": tensor '", tensor_of(layer), "' is ",
                                     found->second.dtype, " of ", found->second.bytes.size(),
                                     " bytes, expected F32 [1]; export again"));
    else
      std::memcpy(&scale, found->second.bytes.data(), sizeof scale);
    scales.push_back(scale);
  }
  if (file.tensors.contains(tensor_of(layers)))
    report.faults.push_back(concat(file_of(rank), ": has '", tensor_of(layers), "' of a model of ",
                                   layers, " layers; export again"));
  return scales;
}

void check_algorithm(const ExportedDirectory& directory, VerifyReport& report) {
  const JsonObject config =
      directory.config ? *directory.config : JsonObject::read(directory.path / kConfigMerge);
  const std::string found = config.object("quantization").text("kv_cache_quant_algo", "");
  if (found != kAlgorithm)
    report.faults.push_back(concat(config.origin(), ": quantization.kv_cache_quant_algo is '",
                                   found, "', expected ", kAlgorithm,
                                   ": the cache would not be int8; merge ", kConfigMerge));
}

void verify(const ExportedDirectory& directory, VerifyReport& report) {
  check_algorithm(directory, report);
  int64_t ranks = 0;
  for (const std::string& name : list_directory(directory.path)) ranks += is_rank_file(name);
  report.serving_ranks = directory.serving_ranks.value_or(ranks);
  if (ranks == 0 || ranks != report.serving_ranks) {
    report.faults.push_back(concat(ranks, " files ", file_of(0), " .., expected those of ",
                                   std::max<int64_t>(1, report.serving_ranks),
                                   " ranks; export with --serving-tp"));
    return;
  }
  int64_t layers = directory.layers;
  if (layers == 0) {
    const Safetensors first = Safetensors::read(directory.path / file_of(0));
    while (first.tensors.contains(tensor_of(layers))) ++layers;
  }
  ScaleTable table(static_cast<size_t>(layers));
  for (int64_t rank = 0; rank < ranks; ++rank) {
    const std::vector<float> scales = read_rank(directory, rank, layers, report);
    for (size_t layer = 0; layer < scales.size(); ++layer)
      table[layer].keys.push_back(scales[layer]);
  }
  check_values(concat(kBegin, "*", kEnd), table, report);
  if (directory.statistics)
    compare_scales(concat(kBegin, "*", kEnd), table,
                   shared_scales_by_rank(directory.statistics->statistics, ranks, kLargestInt8),
                   report);
}

}  // namespace

const ScaleExporter kTensorRtLlm = {
    .name = "tensorrt-llm",
    .title = "TensorRT-LLM's engine builder, INT8 cache",
    .formula = "absmax / 127 of the larger of K and V, one for a layer and rank",
    .source = "TensorRT-LLM's convert_checkpoint.py scripts and checkpoint documentation",
    .note =
        "add the tensors of rankR.safetensors to those of the converted checkpoint's file of "
        "that name, merge config.merge.json into its config.json, then trtllm-build",
    .counts_ranks = true,
    .is_ours = [](std::string_view file) { return is_rank_file(file) || file == kConfigMerge; },
    .files_in_words =
        [](int64_t layers, int64_t ranks) {
          return concat(file_of(0), " .. ", file_of(ranks - 1), " (", layers, " layers), ",
                        kConfigMerge);
        },
    .check = check,
    .files = files,
    .verify = verify,
};

}  // namespace kvcalib
