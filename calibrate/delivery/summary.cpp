// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/summary.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "calibrate/delivery/program_version.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr size_t kRowsShown = 64;
constexpr size_t kSentencesShown = 12;

// All rows, or of a large model those with the widest K.
std::vector<ScaleRow> rows_shown(std::vector<ScaleRow> rows) {
  if (rows.size() <= kRowsShown) return rows;
  const auto last = rows.begin() + static_cast<std::ptrdiff_t>(kRowsShown / 4);
  std::partial_sort(rows.begin(), last, rows.end(), [](const ScaleRow& a, const ScaleRow& b) {
    return a.tensors.front().scale.scale > b.tensors.front().scale.scale;
  });
  rows.erase(last, rows.end());
  return rows;
}

// Without what is not known.
nlohmann::ordered_json to_json(const Interconnect& interconnect) {
  nlohmann::ordered_json json = {{"library", interconnect.library}};
  if (interconnect.multicast_channels)
    json["multicast_channels"] = *interconnect.multicast_channels;
  for (const Interconnect::Graph& graph : interconnect.graphs)
    json["topology"].push_back({{"pattern", graph.pattern},
                                {"channels", graph.channels},
                                {"link", graph.link},
                                {"network", graph.network},
                                {"gigabytes_per_second_of_a_channel", graph.bandwidth}});
  return json;
}

nlohmann::ordered_json to_json(const RunCost& cost) {
  nlohmann::ordered_json json = {{"devices", cost.devices}, {"ranks", cost.ranks}};
  if (cost.ranks > 1) json["interconnect"] = to_json(cost.interconnect);
  json.update({{"prepare_seconds", cost.prepare_seconds},
               {"layer_seconds", cost.layer_seconds},
               {"waited_for_reader_seconds", cost.reading.waited_seconds},
               {"read_seconds", cost.reading.read_seconds},
               {"bytes_read_by_rank_0", cost.reading.bytes_read},
               {"gather_seconds", cost.reading.gather_seconds},
               {"bytes_gathered_by_rank_0", cost.reading.bytes_gathered},
               {"peak_host_bytes", cost.peak_host_bytes},
               {"peak_device_bytes", cost.peak_device_bytes}});
  return json;
}

std::string format_cost(const RunCost& cost, const Provenance& provenance) {
  std::ostringstream text;
  const double tokens = static_cast<double>(provenance.samples * provenance.length);
  text << std::fixed << std::setprecision(1) << provenance.samples << " windows x "
       << provenance.length << " tokens on " << cost.devices
       << (cost.ranks > 1 ? concat(" (", cost.ranks, " ranks, ", format(cost.interconnect), ")")
                          : "")
       << ": layers " << cost.layer_seconds << " s (" << std::setprecision(0)
       << tokens / std::max(cost.layer_seconds, 1e-9) << " tokens/s), preparation "
       << std::setprecision(1) << cost.prepare_seconds << " s, waited for the reader "
       << std::setprecision(2) << cost.reading.waited_seconds << " s, peak memory "
       << static_cast<double>(cost.peak_host_bytes) / 1e9 << " GB";
  if (cost.peak_device_bytes > 0)
    text << ", on the GPU " << static_cast<double>(cost.peak_device_bytes) / 1e9 << " GB";
  text << "\n";
  return text.str();
}

}  // namespace

nlohmann::ordered_json to_json(const Summary& summary) {
  const Provenance& provenance = summary.provenance;
  nlohmann::ordered_json data = nlohmann::ordered_json::array();
  for (const auto& file : provenance.data)
    data.push_back({{"file", file.path}, {"sha256", file.sha256}});
  nlohmann::ordered_json json = {{"program", "kvcalib"},
                                 {"version", program_version()},
                                 {"runtime", summary.runtime},
                                 {"serving_tp", summary.serving_ranks},
                                 {"method", summary.method},
                                 {"weights_fingerprint", provenance.weights_fingerprint},
                                 {"weights_dtype", name(provenance.model.weight_type)},
                                 {"compute_dtype", provenance.compute_dtype},
                                 {"layers", provenance.model.layers},
                                 {"kv_heads", provenance.model.kv_heads},
                                 {"head_dim", provenance.model.head_dim},
                                 {"samples", provenance.samples},
                                 {"length", provenance.length},
                                 {"seed", provenance.seed},
                                 {"packed", provenance.packed},
                                 {"data", data},
                                 {"warnings", summary.warnings},
                                 {"outlying", summary.outlying},
                                 {"scales", to_json(summary.rows)},
                                 {"files", summary.files},
                                 {"place", summary.place},
                                 {"note", summary.note}};
  if (summary.cost) json["cost"] = to_json(*summary.cost);
  return json;
}

std::string format_summary(const Summary& summary) {
  std::ostringstream text;
  const std::vector<ScaleRow> rows = rows_shown(summary.rows);
  text << format_scale_table(rows);
  if (rows.size() < summary.rows.size())
    text << "(the " << rows.size() << " of " << summary.rows.size()
         << " with the widest K; kvcalib inspect shows all)\n";
  for (size_t i = 0; i < std::min(summary.outlying.size(), kSentencesShown); ++i)
    text << "stands out: " << summary.outlying[i] << "\n";
  if (summary.outlying.size() > kSentencesShown)
    text << "stands out: and " << summary.outlying.size() - kSentencesShown
         << " more; kvcalib inspect shows all\n";
  if (summary.cost) text << format_cost(*summary.cost, summary.provenance);
  text << summary.rows.size() << " scale files (" << summary.method << ", TurboMind "
       << summary.runtime << ", " << summary.serving_ranks << " ranks)"
       << (summary.patched_config ? ", config.ini" : "") << " and statistics in " << summary.place
       << "\n";
  if (!summary.note.empty()) text << "note: " << summary.note << "\n";
  return text.str();
}

Summary deliver(OutputTransaction& output, const OutputOptions& where,
                const WeightDirectory& directory, const Target& target,
                const StatisticsFile& statistics, const std::optional<RunCost>& cost) {
  const std::vector<KvScale> scales =
      compute_scales(statistics.statistics, target.ranks, target.method);
  Summary summary;
  summary.runtime = target.runtime->release();
  summary.serving_ranks = target.ranks;
  summary.method = target.method.text();
  summary.provenance = statistics.provenance;
  summary.rows = scale_rows(scales, target.ranks, &statistics.statistics);
  summary.outlying = outlying_rows(summary.rows);
  summary.warnings = target.warnings;
  summary.place = (where.in_place ? directory.path() : *where.output).string();
  summary.note = target.runtime->serving_note();
  summary.cost = cost;
  const std::string backed_up = delivery_names(find_runtime(kTurboMind)).backed_up;
  for (const OutputFile& file : make_files(directory, target, scales, statistics)) {
    output.write(file.name, file.bytes);
    summary.files.push_back(file.name);
    summary.patched_config = summary.patched_config || file.name == backed_up;
  }
  summary.files.push_back(kSummaryFileName);
  output.write(kSummaryFileName, to_json(summary).dump(2) + "\n");
  output.commit();
  return summary;
}

}  // namespace kvcalib
