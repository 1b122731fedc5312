// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/scale_exporter.h"

#include <algorithm>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

std::string listed(std::span<const std::string_view> names) {
  std::string text;
  for (const std::string_view name : names) text += concat(text.empty() ? "" : ", ", name);
  return text;
}

void check_model(const ScaleExporter& exporter, const ExportedDirectory& exported) {
  if (exporter.architectures.empty() || !exported.config) return;
  const std::vector<std::string> stated = exported.config->texts("architectures");
  check_architecture(exporter, exported.config->origin(), stated.empty() ? "" : stated.front());
}

}  // namespace

OutputNames export_names(const ScaleExporter& exporter) {
  OutputNames names;
  names.is_ours = [of_exporter = exporter.is_ours](std::string_view name) {
    return name == kStatisticsFileName || name == kSummaryFileName || of_exporter(name);
  };
  names.goes_with_the_set = names.tells_of_a_set = exporter.is_ours;
  names.set = concat("files for ", exporter.name);
  return names;
}

void check_architecture(const ScaleExporter& exporter, const std::string& config,
                        const std::string& architecture) {
  const auto& known = exporter.architectures;
  if (std::find(known.begin(), known.end(), architecture) != known.end()) return;
  throw Error(concat(config, ": architectures names '", architecture, "', expected one of ",
                     listed(known), ", whose loaders in ", exporter.program, " are known to take ",
                     "scales: others drop them or fail; give --for kvcalib-json and write its ",
                     "files from that"));
}

void check_architecture(const ScaleExporter& exporter, const Checkpoint& checkpoint) {
  check_architecture(exporter, (checkpoint.path / kCheckpointConfig).string(),
                     checkpoint.architecture);
}

ExportReport verify_export(const ScaleExporter& exporter, const std::filesystem::path& directory,
                           std::optional<int64_t> serving_ranks) {
  ExportReport report;
  const ExportedDirectory exported = look_at_export(directory, serving_ranks, report);
  report.layers = exported.layers;
  report.serving_ranks = exported.serving_ranks.value_or(1);
  const auto keep_fault = [&](const auto& action) {
    try {
      action();
    } catch (const Error& failure) {
      report.faults.emplace_back(failure.what());
    }
  };
  keep_fault([&] { check_model(exporter, exported); });
  keep_fault([&] { exporter.verify(exported, report); });
  if (!exported.statistics)
    report.unseen =
        concat("whether they are of this model's ranges, or of other layers, of K ",
               "instead of V, or reciprocal, was not seen without ", kStatisticsFileName);
  if (!exporter.source.empty())
    report.notes.emplace_back(
        concat("read by the rules of ", exporter.source, "; nothing was run with it"));
  for (const std::string_view note : {exporter.warning, exporter.note})
    if (!note.empty()) report.notes.emplace_back(note);
  return report;
}

}  // namespace kvcalib
