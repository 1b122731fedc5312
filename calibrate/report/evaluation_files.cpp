// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/evaluation_files.h"

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "calibrate/report/evaluation_json.h"
#include "calibrate/report/evaluation_report.h"
#include "calibrate/report/task_json.h"

namespace kvcalib {
namespace {

constexpr std::string_view kJson = "evaluation.json", kMarkdown = "evaluation.md",
                           kItems = "items.jsonl";

DeliveredFile file_of(std::string_view name, std::string bytes) {
  return {std::string(name), [bytes = std::move(bytes)](ByteSink& sink) { sink.append(bytes); }};
}

}  // namespace

OutputNames evaluation_file_names() {
  const auto is_ours = [](std::string_view name) {
    constexpr std::array kNames = {kJson, kMarkdown, kItems};
    return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
  };
  return {is_ours, is_ours, is_ours, "evaluation reports", ""};
}

std::vector<DeliveredFile> evaluation_files(const Evaluation& evaluation,
                                            std::span<const ScoredTask> tasks) {
  std::vector<DeliveredFile> files = {file_of(kJson, evaluation_json(evaluation)),
                                      file_of(kMarkdown, evaluation_markdown(evaluation))};
  if (!tasks.empty())
    files.push_back(file_of(kItems, items_jsonl(tasks, evaluation.measured.streams)));
  return files;
}

}  // namespace kvcalib
