// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/scale_export.h"

#include <utility>

#include "calibrate/delivery/export_targets.h"
#include "calibrate/delivery/program_version.h"
#include "calibrate/runtimes/layer_scales.h"
#include "calibrate/statistics/scale_method.h"
#include "sharding/files/error.h"
#include "sharding/files/json_writer.h"

namespace kvcalib {
namespace {

// What its program is known for, and layers whose K or V is 0.
std::vector<std::string> warnings_of(const ScaleExport& exported) {
  std::vector<std::string> warnings;
  if (!exported.exporter->warning.empty()) warnings.emplace_back(exported.exporter->warning);
  const ScaleTable table = scales_by_layer(exported.statistics->statistics, kLargestInt8);
  for (size_t layer = 0; layer < table.size(); ++layer)
    for (const auto& [symbol, scales] :
         {std::pair("K", &table[layer].keys), std::pair("V", &table[layer].values)})
      if (scales->front() <= kSmallestScale)
        warnings.push_back(concat("layer ", layer, ", ", symbol, ": nothing but 0 was measured, ",
                                  "and the scale is the least there is; calibrate again"));
  return warnings;
}

nlohmann::ordered_json summary_of(const ScaleExport& exported, int64_t ranks,
                                  std::vector<std::string> warnings) {
  warnings.insert(warnings.end(), exported.warnings.begin(), exported.warnings.end());
  const ScaleExporter& exporter = *exported.exporter;
  const Provenance& provenance = exported.statistics->provenance;
  std::vector<std::string> names;
  for (const OutputFile& file : exported.files) names.push_back(file.name);
  names.emplace_back(kStatisticsFileName);
  names.emplace_back(kSummaryFileName);
  nlohmann::ordered_json json = {{"program", "kvcalib"},
                                 {"version", program_version()},
                                 {"for", exporter.name},
                                 {"title", exporter.title},
                                 {"formula", exporter.formula},
                                 {"written_against", exporter.source},
                                 {"run_with_it", false},
                                 {"weights_fingerprint", provenance.weights_fingerprint},
                                 {"layers", provenance.model.layers},
                                 {"kv_heads", provenance.model.kv_heads},
                                 {"head_dim", provenance.model.head_dim},
                                 {"samples", provenance.samples},
                                 {"length", provenance.length},
                                 {"seed", provenance.seed},
                                 {"warnings", warnings},
                                 {"files", names},
                                 {"place", exported.place},
                                 {"note", exporter.note}};
  if (exporter.counts_ranks) json["serving_tp"] = ranks;
  return json;
}

}  // namespace

std::vector<ScaleExport> make_exports(const WeightDirectory& weights, const Target& target,
                                      const std::shared_ptr<const StatisticsFile>& statistics,
                                      const std::string& place) {
  std::vector<ScaleExport> exports;
  for_each_export(weights, target.readers, target.ranks,
                  [&](const ScaleExporter& exporter, const ExportTarget& for_whom) {
                    const bool alone = target.readers.size() == 1;
                    ScaleExport made{&exporter,
                                     alone ? place : concat(place, "/", exporter.name),
                                     exporter.files(for_whom, *statistics),
                                     {},
                                     {},
                                     statistics};
                    made.warnings = warnings_of(made);
                    made.summary = summary_of(made, target.ranks, target.warnings);
                    exports.push_back(std::move(made));
                  });
  return exports;
}

std::string folder_of(const Target& target, std::string_view reader) {
  return target.readers.size() > 1 ? concat(reader, "/") : "";
}

void stage_export(OutputTransaction& output, const Target& target, const ScaleExport& exported) {
  const std::string folder = folder_of(target, exported.exporter->name);
  for (const OutputFile& file : exported.files) output.write(folder + file.name, file.bytes);
  output.write(folder + kStatisticsFileName,
               [&](ByteSink& sink) { exported.statistics->write(sink); });
  output.write(folder + kSummaryFileName, json_text(exported.summary));
}

}  // namespace kvcalib
