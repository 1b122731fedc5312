// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/delivered.h"

#include <memory>
#include <utility>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

std::string format(const ScaleExport& exported) {
  const ScaleExporter& exporter = *exported.exporter;
  std::string files;
  for (const OutputFile& file : exported.files) files += file.name + ", ";
  std::string text = concat(exporter.name, " (", exporter.title, "): ", files, "and statistics in ",
                            exported.place, "\n  scale: ", exporter.formula, "\n");
  if (!exporter.source.empty())
    text += concat("  written against ", exporter.source, "; not run with it\n");
  for (const std::string& warning : exported.warnings) text += concat("  warning: ", warning, "\n");
  if (!exporter.note.empty()) text += concat("  note: ", exporter.note, "\n");
  return text;
}

}  // namespace

Delivered deliver(const WeightDirectory& weights, const Target& target, StatisticsFile statistics,
                  const std::string& place, const std::optional<RunCost>& cost,
                  OutputTransaction& output) {
  const auto shared = std::make_shared<const StatisticsFile>(std::move(statistics));
  Delivered delivered;
  if (target.serves(kTurboMind))
    delivered.summary = summarise(
        make_delivery(weights, target, shared,
                      concat(place, target.readers.size() > 1 ? "/turbomind" : ""), cost));
  delivered.exports = make_exports(weights, target, shared, place);
  if (delivered.summary) stage_delivery(output, delivered.summary->delivery);
  for (const ScaleExport& exported : delivered.exports) stage_export(output, target, exported);
  output.commit();
  return delivered;
}

nlohmann::ordered_json to_json(const Delivered& delivered) {
  nlohmann::ordered_json all = nlohmann::ordered_json::object();
  if (delivered.summary) all[std::string(kTurboMind)] = to_json(*delivered.summary);
  for (const ScaleExport& exported : delivered.exports)
    all[std::string(exported.exporter->name)] = exported.summary;
  if (all.size() == 1) return all.begin().value();
  return all;
}

std::string format_delivered(const Delivered& delivered) {
  std::string text;
  if (delivered.summary) text = format_summary(*delivered.summary);
  for (const ScaleExport& exported : delivered.exports) text += format(exported);
  return text;
}

}  // namespace kvcalib
