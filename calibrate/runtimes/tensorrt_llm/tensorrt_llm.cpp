// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/tensorrt_llm/tensorrt_llm.h"

#include <nlohmann/json.hpp>

#include "calibrate/runtimes/layer_scales.h"
#include "calibrate/runtimes/overlay_file.h"
#include "calibrate/runtimes/tensorrt_llm/rank_files.h"
#include "calibrate/runtimes/tensorrt_llm/verify_rank_files.h"
#include "sharding/files/error.h"
#include "sharding/files/json_writer.h"

namespace kvcalib {
namespace {

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
      tensors[rank_tensor(static_cast<int64_t>(layer))] = {
          "F32", {1}, float32_bytes({table[layer].keys[static_cast<size_t>(rank)]})};
    files.push_back({rank_file(rank), safetensors_of(tensors)});
  }
  files.push_back(
      {kConfigMerge, json_text({{"quantization", {{"kv_cache_quant_algo", kCacheAlgorithm}}}})});
  return files;
}

}  // namespace

const ScaleExporter kTensorRtLlm = {
    .name = "tensorrt-llm",
    .program = "TensorRT-LLM",
    .title = "TensorRT-LLM's engine builder, INT8 cache",
    .formula = "absmax / 127 of the larger of K and V, one for a layer and rank",
    .source = "TensorRT-LLM's convert_checkpoint.py scripts and checkpoint documentation",
    .note =
        "add the tensors of rankR.safetensors to those of the converted checkpoint's file of "
        "that name, merge config.merge.json into its config.json, then trtllm-build",
    .names_tensors = false,
    .counts_ranks = true,
    .is_ours = [](std::string_view file) { return is_rank_file(file) || file == kConfigMerge; },
    .files_in_words =
        [](int64_t layers, int64_t ranks) {
          return concat(rank_file(0), " .. ", rank_file(ranks - 1), " (", layers, " layers), ",
                        kConfigMerge);
        },
    .check_own = check,
    .files = files,
    .verify = verify_rank_files,
};

}  // namespace kvcalib
