// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/scale_exporter.h"

#include <algorithm>

#include "calibrate/data/task_fields.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// Throws Error naming what was found where `architecture`, of that config.json, is none of the
// exporter's.
void check_architecture(const ScaleExporter& exporter, const std::string& config,
                        const std::string& architecture) {
  const auto& known = exporter.architectures;
  if (std::find(known.begin(), known.end(), architecture) != known.end()) return;
  throw Error(concat(config, ": architectures names '", architecture, "', expected one of ",
                     listed(known), ", whose loaders in ", exporter.program, " are known to take ",
                     "scales: others drop them or fail; give --for kvcalib-json and write its ",
                     "files from that"));
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

void ScaleExporter::check(const ExportTarget& target) const {
  if (!architectures.empty())
    check_architecture(*this, (target.checkpoint->path / kCheckpointConfig).string(),
                       target.checkpoint->architecture);
  if (check_own != nullptr) check_own(target);
}

void check_attention(const ExportTarget& target) {
  check_attention_names(*target.checkpoint, target.weights.config().layers);
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
