// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/runtime_table.h"

#include <algorithm>
#include <array>

#include "calibrate/runtimes/ascend_c8/ascend_c8.h"
#include "calibrate/runtimes/fp8_overlay/fp8_overlay.h"
#include "calibrate/runtimes/kvcalib_json/kvcalib_json.h"
#include "calibrate/runtimes/lightllm/lightllm.h"
#include "calibrate/runtimes/lmdeploy_ascend/lmdeploy_ascend.h"
#include "calibrate/runtimes/sglang_json/sglang_json.h"
#include "calibrate/runtimes/tensorrt_llm/tensorrt_llm.h"
#include "calibrate/runtimes/turbomind/turbomind.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr std::array kRuntimes{
    RuntimeRow{kTurboMind, turbomind_file_names, turbomind_embedding_rows, read_turbomind_scales,
               open_turbomind},
};

constexpr std::array kExporters{
    &kVllm,       &kSglang, &kSglangJson,     &kLightLlm,    &kTensorRtLlm,
    &kVllmAscend, &kMindIe, &kLmDeployAscend, &kKvcalibJson,
};

}  // namespace

const ScaleExporter* find_exporter(std::string_view name) {
  const auto* const found =
      std::find_if(kExporters.begin(), kExporters.end(),
                   [&](const ScaleExporter* exporter) { return exporter->name == name; });
  return found == kExporters.end() ? nullptr : *found;
}

std::vector<std::string> reader_names() {
  std::vector<std::string> names;
  for (const RuntimeRow& row : kRuntimes) names.emplace_back(row.name);
  for (const ScaleExporter* exporter : kExporters) names.emplace_back(exporter->name);
  return names;
}

const RuntimeRow& find_runtime(std::string_view name) {
  const auto* const found = std::find_if(kRuntimes.begin(), kRuntimes.end(),
                                         [&](const RuntimeRow& row) { return row.name == name; });
  if (found != kRuntimes.end()) return *found;
  std::string known;
  for (const RuntimeRow& row : kRuntimes) known += concat(known.empty() ? "" : ", ", row.name);
  throw Error(concat(name, ": no runtime that kvcalib makes scales for; known are ", known));
}

OutputNames delivery_names(const RuntimeRow& runtime) {
  OutputNames names = runtime.file_names();
  names.is_ours = [of_runtime = names.is_ours](std::string_view name) {
    return name == kStatisticsFileName || name == kSummaryFileName || of_runtime(name);
  };
  return names;
}

}  // namespace kvcalib
