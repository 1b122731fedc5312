// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/divergence_sections.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>
#include <string>
#include <utility>

#include "calibrate/report/figures.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr size_t kStreamsAbreast = 4;

using Row = std::pair<std::string, std::function<std::string(const StreamMeasures&)>>;

std::string percentile_name(double percent, const char* of) {
  if (percent == 100) return concat("Maximum ", of);
  if (percent == 50) return concat("Median ", of);
  if (percent == 0) return concat("Minimum ", of);
  return concat(decimals(percent, 1), "% ", of);
}

void add_percentiles(std::vector<Row>& rows, std::span<const double> percents, const char* of,
                     const char* unit, std::vector<double> StreamMeasures::*values) {
  for (size_t i = 0; i < percents.size(); ++i)
    rows.emplace_back(percentile_name(percents[i], of) + unit, [=](const StreamMeasures& measures) {
      return significant((measures.*values)[i]);
    });
}

void add_estimate(std::vector<Row>& rows, const char* name, Estimate StreamMeasures::*estimate,
                  int digits = 4) {
  rows.emplace_back(name, [=](const StreamMeasures& measures) {
    return significant(measures.*estimate, digits);
  });
}

std::vector<Row> rows_of(const TextMeasures& text, const std::vector<StreamInfo>& streams) {
  std::vector<Row> rows;
  add_estimate(rows, "Mean PPL(Q)", &StreamMeasures::perplexity, 6);
  rows.emplace_back("Mean PPL(base)", [&text](const StreamMeasures&) {
    return significant(text.streams.front().perplexity, 6);
  });
  rows.emplace_back("Cor(ln(PPL(Q)), ln(PPL(base))), %", [](const StreamMeasures& measures) {
    return significant(measures.correlation, 5);
  });
  add_estimate(rows, "Mean ln(PPL(Q)/PPL(base))", &StreamMeasures::log_ratio);
  add_estimate(rows, "Mean PPL(Q)/PPL(base)", &StreamMeasures::ratio, 6);
  add_estimate(rows, "Mean PPL(Q)-PPL(base)", &StreamMeasures::difference);
  add_estimate(rows, "Mean    KLD", &StreamMeasures::divergence);
  add_percentiles(rows, kDivergencePercents, "KLD", "", &StreamMeasures::divergence_at);
  add_estimate(rows, "Mean reverse KLD", &StreamMeasures::reverse_divergence);
  if (text.streams.size() > 2)
    rows.emplace_back(concat("Mean KLD - ", streams[1].name, "'s"),
                      [](const StreamMeasures& measures) {
                        if (std::isnan(measures.divergence_excess.value)) return std::string();
                        return significant(measures.divergence_excess);
                      });
  add_estimate(rows, "Mean    Δp, %", &StreamMeasures::change);
  add_percentiles(rows, kChangePercents, "Δp", ", %", &StreamMeasures::change_at);
  add_estimate(rows, "RMS Δp, %", &StreamMeasures::change_rms);
  add_estimate(rows, "Same top p, %", &StreamMeasures::same_top, 5);
  return rows;
}

std::vector<std::string> strange_tokens(const TextMeasures& text,
                                        const std::vector<StreamInfo>& streams) {
  std::vector<std::string> lines;
  for (size_t s = 0; s < text.streams.size(); ++s)
    if (text.streams[s].not_finite > 0)
      lines.push_back(concat(streams[s].name, ": ", text.streams[s].not_finite,
                             " tokens have no finite probability"));
  return lines;
}

Section by_position(const TextMeasures& text, const std::vector<StreamInfo>& streams) {
  Section section;
  section.title = "By position in the window";
  section.table.header = {"positions",  "stream",    "tokens",
                          "Mean KLD",   "reverse",   "ln(PPL(Q)/PPL(base))",
                          "Mean Δp, %", "RMS Δp, %", "Same top p, %"};
  section.table.text_columns = 2;
  for (size_t p = 0; p < text.streams.front().places.size(); ++p)
    for (size_t s = 1; s < text.streams.size(); ++s) {
      const PlaceMeasures& place = text.streams[s].places[p];
      section.table.rows.push_back(
          {s == 1 ? concat(place.first, " .. ", place.last) : "", streams[s].name,
           concat(place.tokens), significant(place.divergence),
           significant(place.reverse_divergence.value), significant(place.log_ratio),
           significant(place.change), significant(place.change_rms.value),
           significant(place.same_top)});
    }
  return section;
}

}  // namespace

std::vector<Section> text_sections(const Measured& measured) {
  if (!measured.text || measured.text->streams.size() < 2) return {};
  const TextMeasures& text = *measured.text;
  const std::vector<Row> rows = rows_of(text, measured.streams);
  std::vector<Section> sections;
  for (size_t first = 1; first < text.streams.size(); first += kStreamsAbreast) {
    Section& section = sections.emplace_back();
    if (first == 1)
      section.title = concat("Text: ", text.tokens, " tokens in ", text.windows,
                             " windows; errors are from windows");
    const size_t end = std::min(first + kStreamsAbreast, text.streams.size());
    section.table.header = {concat("base: ", measured.streams.front().name)};
    for (size_t s = first; s < end; ++s) section.table.header.push_back(measured.streams[s].name);
    for (const auto& [name, figure] : rows) {
      std::vector<std::string>& row = section.table.rows.emplace_back();
      row.push_back(name);
      for (size_t s = first; s < end; ++s) row.push_back(figure(text.streams[s]));
    }
  }
  sections.back().lines = strange_tokens(text, measured.streams);
  sections.push_back(by_position(text, measured.streams));
  return sections;
}

std::vector<Section> copy_sections(const Measured& measured) {
  if (measured.copy.empty()) return {};
  Section section;
  section.title = "Copying: random tokens and the same again so many tokens later, which is scored";
  section.table.header = {"distance", "stream",   "tokens",       "-ln p",
                          "change",   "Mean KLD", "Same top p, %"};
  section.table.text_columns = 2;
  for (const CopyDistance& copy : measured.copy) {
    for (size_t s = 0; s < copy.measures.streams.size(); ++s) {
      const StreamMeasures& measures = copy.measures.streams[s];
      section.table.rows.push_back({s == 0 ? concat(copy.distance) : "", measured.streams[s].name,
                                    concat(copy.measures.tokens), significant(measures.surprise),
                                    s == 0 ? "" : significant(measures.log_ratio),
                                    s == 0 ? "" : significant(measures.divergence),
                                    s == 0 ? "" : significant(measures.same_top)});
    }
    if (cannot_copy(copy, measured.vocab))
      section.lines.push_back(concat("this model cannot copy over ", copy.distance,
                                     " tokens: it does no better than equal odds for all tokens"));
    for (const std::string& line : strange_tokens(copy.measures, measured.streams))
      section.lines.push_back(concat("distance ", copy.distance, ": ", line));
  }
  return {section};
}

}  // namespace kvcalib
