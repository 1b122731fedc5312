// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/layer_sections.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <utility>

#include "calibrate/report/figures.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr const char* kLegend =
    "clipped: more than a step beyond the codes; error: of the attention output when this layer's "
    "K, V or both alone go through the format; hidden: of the layers so far; errors are of every "
    "32nd text, its first 512 tokens";

std::string percent_of(double share) { return significant(100 * share, 3); }

// A row with what it is picked by.
using RatedRow = std::pair<double, std::vector<std::string>>;

double known(double error) { return std::isfinite(error) ? error : -1; }

std::vector<RatedRow> rows_of(const std::vector<LayerFigures>& layers) {
  std::vector<RatedRow> rows;
  for (size_t layer = 0; layer < layers.size(); ++layer)
    for (size_t rank = 0; rank < layers[layer].ranks.size(); ++rank) {
      const RankFigures& figures = layers[layer].ranks[rank];
      std::vector<std::string> row = {concat(layer), concat(rank)};
      for (const TensorFigures& tensor : {figures.keys, figures.values}) {
        row.push_back(percent_of(tensor.clipped));
        row.push_back(percent_of(tensor.unused()));
        row.push_back(percent_of(tensor.error));
      }
      row.push_back(percent_of(figures.both_error));
      row.push_back(percent_of(layers[layer].hidden_error));
      rows.emplace_back(known(figures.both_error), std::move(row));
    }
  return rows;
}

// Whether any text showed something: prompts of generated answers alone do not.
bool is_seen(const std::vector<LayerFigures>& layers) {
  return std::any_of(layers.begin(), layers.end(), [](const LayerFigures& layer) {
    return std::any_of(layer.ranks.begin(), layer.ranks.end(), [](const RankFigures& rank) {
      return rank.keys.values > 0 || std::isfinite(rank.both_error);
    });
  });
}

// The worst, in their order.
std::vector<RatedRow> picked(const std::vector<RatedRow>& rows, size_t count) {
  std::vector<size_t> indices(rows.size());
  std::iota(indices.begin(), indices.end(), size_t{0});
  std::stable_sort(indices.begin(), indices.end(),
                   [&](size_t a, size_t b) { return rows[a].first > rows[b].first; });
  indices.resize(count);
  std::sort(indices.begin(), indices.end());
  std::vector<RatedRow> left;
  for (const size_t index : indices) left.push_back(rows[index]);
  return left;
}

}  // namespace

std::vector<Section> layer_sections(const Measured& measured, size_t most_rows) {
  std::vector<Section> sections;
  const size_t most_of_stream = most_rows / std::max<size_t>(measured.profiles.size(), 1);
  for (const ProfiledStream& profile : measured.profiles) {
    if (!is_seen(profile.layers)) continue;
    Section& section = sections.emplace_back();
    section.title = concat("Layers of ", measured.streams[profile.stream].name, ": ",
                           percent_of(profile.clipped), " % of all values clipped; all in percent");
    section.table.header = {"layer",     "rank",     "K clipped", "K unused", "K error",
                            "V clipped", "V unused", "V error",   "both",     "hidden"};
    section.table.text_columns = 0;
    std::vector<RatedRow> rows = rows_of(profile.layers);
    const size_t all = rows.size();
    if (all > most_of_stream) rows = picked(rows, std::max<size_t>(most_of_stream / 4, 1));
    for (RatedRow& row : rows) section.table.rows.push_back(std::move(row.second));
    if (rows.size() < all)
      section.lines.push_back(
          concat("(the ", rows.size(), " of ", all, " with the largest errors)"));
    for (const std::string& finding : profile.findings)
      section.lines.push_back("stands out: " + finding);
  }
  if (!sections.empty()) sections.back().lines.emplace_back(kLegend);
  return sections;
}

}  // namespace kvcalib
