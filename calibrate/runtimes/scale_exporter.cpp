// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/scale_exporter.h"

#include "sharding/files/error.h"

namespace kvcalib {

OutputNames export_names(const ScaleExporter& exporter) {
  OutputNames names;
  names.is_ours = [of_exporter = exporter.is_ours](std::string_view name) {
    return name == kStatisticsFileName || name == kSummaryFileName || of_exporter(name);
  };
  names.goes_with_the_set = names.tells_of_a_set = exporter.is_ours;
  names.set = concat("files for ", exporter.name);
  return names;
}

VerifyReport verify_export(const ScaleExporter& exporter, const std::filesystem::path& directory,
                           std::optional<int64_t> serving_ranks) {
  VerifyReport report;
  const ExportedDirectory exported = look_at_export(directory, serving_ranks, report);
  report.layers = exported.layers;
  report.serving_ranks = serving_ranks.value_or(1);
  try {
    exporter.verify(exported, report);
  } catch (const Error& failure) {
    report.faults.emplace_back(failure.what());
  }
  if (!exporter.source.empty())
    report.notes.emplace_back(
        concat("read by the rules of ", exporter.source, "; nothing was run with it"));
  if (!exporter.note.empty()) report.notes.emplace_back(exporter.note);
  return report;
}

}  // namespace kvcalib
