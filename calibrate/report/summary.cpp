// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/summary.h"

#include <algorithm>
#include <iomanip>
#include <sstream>
#include <utility>

#include "calibrate/delivery/program_version.h"
#include "calibrate/runtimes/runtime.h"
#include "sharding/files/error.h"
#include "sharding/files/json_writer.h"

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

// What windows that are shorter than sessions would have missed.
std::string format_session(const Delivery& delivery) {
  const int64_t window = delivery.statistics->provenance.length;
  if (delivery.session_length <= window) return {};
  const auto& [layer, rank, factor] = delivery.widening;
  std::ostringstream text;
  text << "sessions of " << delivery.session_length << " tokens, windows of " << window
       << ": K's ranges are derived for what its rotation does beyond them, ";
  if (factor >= 1.005)
    text << "its steps up to " << std::fixed << std::setprecision(2) << factor
         << " times as wide (layer " << layer << ", rank " << rank << ")\n";
  else
    text << "which hardly widens any\n";
  return text.str();
}

}  // namespace

Summary summarise(Delivery delivery) {
  Summary summary;
  summary.rows =
      scale_rows(delivery.scales, delivery.target.ranks, &delivery.statistics->statistics);
  summary.outlying = outlying_rows(summary.rows);
  summary.delivery = std::move(delivery);
  std::vector<DeliveredFile>& files = summary.delivery.files;
  files.push_back({kSummaryFileName, {}});
  files.back().content = [text = json_text(to_json(summary))](ByteSink& sink) {
    sink.append(text);
  };
  return summary;
}

nlohmann::ordered_json to_json(const Summary& summary) {
  const Delivery& delivery = summary.delivery;
  const Target& target = delivery.target;
  const Provenance& provenance = delivery.statistics->provenance;
  nlohmann::ordered_json data = nlohmann::ordered_json::array();
  for (const auto& file : provenance.data)
    data.push_back({{"file", file.path}, {"sha256", file.sha256}});
  std::vector<std::string> warnings = target.warnings;
  warnings.insert(warnings.end(), delivery.clipped.begin(), delivery.clipped.end());
  std::vector<std::string> files;
  for (const DeliveredFile& file : delivery.files) files.push_back(file.name);
  nlohmann::ordered_json json = {{"program", "kvcalib"},
                                 {"version", program_version()},
                                 {"runtime", target.runtime->release()},
                                 {"serving_tp", target.ranks},
                                 {"method", target.method.text()},
                                 {"session_length", delivery.session_length},
                                 {"widening_beyond_windows", delivery.widening.factor},
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
                                 {"warnings", warnings},
                                 {"outlying", summary.outlying},
                                 {"scales", to_json(summary.rows)},
                                 {"files", files},
                                 {"place", delivery.place},
                                 {"note", target.runtime->serving_note()}};
  if (delivery.cost) json["cost"] = to_json(*delivery.cost);
  return json;
}

std::string format_summary(const Summary& summary) {
  const Delivery& delivery = summary.delivery;
  const Target& target = delivery.target;
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
  text << format_session(delivery);
  if (delivery.cost) text << format_cost(*delivery.cost, delivery.statistics->provenance);
  text << summary.rows.size() << " scale files (" << target.method.text() << ", "
       << target.runtime->title() << ", " << target.ranks << " ranks)"
       << (delivery.beside_scales.empty() ? "" : ", " + delivery.beside_scales)
       << " and statistics in " << delivery.place << "\n";
  if (const std::string note = target.runtime->serving_note(); !note.empty())
    text << "note: " << note << "\n";
  return text.str();
}

}  // namespace kvcalib
