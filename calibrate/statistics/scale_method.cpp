// SPDX-License-Identifier: Apache-2.0
#include "calibrate/statistics/scale_method.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "calibrate/statistics/range_search.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// The extremes over some channels, widened to hold 0.
struct Range {
  float low = 0.0f;   // <= 0
  float high = 0.0f;  // >= 0
};

constexpr const char* kMargin = "margin";

// Widened where the method has a margin.
Range range_of(const ChannelStatistics& channels, const ScaleMethod& method) {
  Range range;
  for (const float minimum : channels.minimum) range.low = std::min(range.low, minimum);
  for (const float maximum : channels.maximum) range.high = std::max(range.high, maximum);
  const auto margin = method.parameters.find(kMargin);
  if (margin == method.parameters.end()) return range;
  range.low *= static_cast<float>(margin->second);
  range.high *= static_cast<float>(margin->second);
  return range;
}

// -0 would be another byte pattern of the same zero.
float plain_zero(float value) { return value == 0.0f ? 0.0f : value; }

TensorScale asymmetric(const ChannelStatistics& channels, const ScaleMethod& method) {
  const Range range = range_of(channels, method);
  return {std::max((range.high - range.low) / 255.0f, kSmallestScale),
          plain_zero((range.high + range.low) * 0.5f)};
}

TensorScale symmetric(const ChannelStatistics& channels, const ScaleMethod& method) {
  const Range range = range_of(channels, method);
  return {std::max(std::max(-range.low, range.high) / 127.0f, kSmallestScale), 0.0f};
}

constexpr const char* kPercent = "p";
constexpr const char* kTokens = "tokens";

Fractions central(const HeadHistograms& heads, const ScaleMethod& method) {
  return central_share(merged(heads, &HeadHistograms::counts), extremes_of(heads),
                       method.parameters.at(kPercent));
}

Fractions least_plain_error(const HeadHistograms& heads, const ScaleMethod& /*method*/) {
  return least_error(merged(heads, &HeadHistograms::counts), extremes_of(heads));
}

Fractions least_plain_divergence(const HeadHistograms& heads, const ScaleMethod& /*method*/) {
  return least_divergence(merged(heads, &HeadHistograms::counts), extremes_of(heads));
}

Fractions least_important_error(const HeadHistograms& heads, const ScaleMethod& /*method*/) {
  return least_error(merged(heads, &HeadHistograms::importance), extremes_of(heads));
}

Fractions without_sinks(const HeadHistograms& heads, const ScaleMethod& method) {
  const Extremes all = extremes_of(heads);
  const Extremes apart = extremes_of(heads, static_cast<int64_t>(method.parameters.at(kTokens)));
  const auto part = [](double some, double whole) {
    return whole == 0 ? 1.0 : std::max(some / whole, kLeastFraction);
  };
  return {part(apart.low, all.low), part(apart.high, all.high)};
}

// Asymmetric, of what a search leaves of the range.
template <Fractions (*search)(const HeadHistograms& heads, const ScaleMethod& method)>
TensorScale clipped(const ChannelStatistics& channels, const ScaleMethod& method) {
  if (channels.histograms.empty())
    throw Error(concat("--method ", method.text(), ": is made of histograms, and the statistics ",
                       "have none (tensors 'key.counts' and on); calibrate with --histograms"));
  const Range range = range_of(channels, ScaleMethod::kAsymmetric);
  const Fractions fractions = search(channels.histograms, method);
  const auto margin = method.parameters.find(kMargin);
  const double wider = margin == method.parameters.end() ? 1.0 : margin->second;
  const float ends[] = {static_cast<float>(std::min(fractions.low * wider, 1.0) * range.low),
                        static_cast<float>(std::min(fractions.high * wider, 1.0) * range.high)};
  return asymmetric({std::span(ends, 1), std::span(ends + 1, 1)}, ScaleMethod::kAsymmetric);
}

// What the parameters of a method may be.
struct Bounds {
  double least = 0, most = 0;
  bool whole = false;
};
constexpr Bounds kMargins{1, 2};
constexpr Bounds kPercents{50, 100};
constexpr Bounds kTokenCounts{1, kMostLeftOut, true};

// A method with the parameters that it has unless told others.
struct Row {
  ScaleMethod method;
  bool symmetric;
  TensorScale (*scale_of)(const ChannelStatistics& channels, const ScaleMethod& method);
  Bounds bounds = {};
  bool needs_histograms = false;
};

const std::vector<Row>& rows() {
  static const std::vector<Row> kRows = {
      {ScaleMethod::kAsymmetric, false, asymmetric},
      {ScaleMethod::kSymmetric, true, symmetric},
      {{"minmax-margin", {{kMargin, 1.05}}}, false, asymmetric, kMargins},
      {{"symmetric-margin", {{kMargin, 1.05}}}, true, symmetric, kMargins},
      {{"percentile", {{kPercent, 99.999}}}, false, clipped<central>, kPercents, true},
      {{"mse", {}}, false, clipped<least_plain_error>, {}, true},
      {{"entropy", {}}, false, clipped<least_plain_divergence>, {}, true},
      {{"importance", {{kMargin, 1.05}}}, false, clipped<least_important_error>, kMargins, true},
      {{"sinks-apart", {{kTokens, 1}}}, false, clipped<without_sinks>, kTokenCounts, true},
  };
  return kRows;
}

const Row& row_of(const ScaleMethod& method) {
  std::string known;
  for (const Row& row : rows()) {
    if (row.method.name == method.name) return row;
    known += (known.empty() ? "" : ", ") + row.method.name;
  }
  throw Error(concat("scale method '", method.name, "' is not known, expected one of ", known,
                     "; was it made by a later kvcalib?"));
}

// "PARAMETER=NUMBER,..." of `text`, which messages name.
std::map<std::string, double> read_parameters(std::string_view list, std::string_view text) {
  std::map<std::string, double> parameters;
  for (std::string_view rest = list;;) {
    const size_t comma = rest.find(',');
    const std::string_view part = rest.substr(0, comma);
    const size_t equals = std::min(part.find('='), part.size());
    const std::string_view number = part.substr(std::min(equals + 1, part.size()));
    double value = 0;
    const auto [end, failure] =
        std::from_chars(number.data(), number.data() + number.size(), value);
    if (failure != std::errc{} || end != number.data() + number.size())
      throw Error(concat("scale method '", text, "': '", part, "', expected PARAMETER=NUMBER"));
    if (!parameters.emplace(part.substr(0, equals), value).second)
      throw Error(concat("scale method '", text, "': ", part.substr(0, equals), " is given twice"));
    if (comma == std::string_view::npos) return parameters;
    rest = rest.substr(comma + 1);
  }
}

}  // namespace

const ScaleMethod ScaleMethod::kAsymmetric{"asymmetric", {}};
const ScaleMethod ScaleMethod::kSymmetric{"symmetric", {}};

std::vector<ScaleMethod> ScaleMethod::all() {
  std::vector<ScaleMethod> methods;
  for (const Row& row : rows()) methods.push_back(row.method);
  return methods;
}

ScaleMethod ScaleMethod::parse(std::string_view text) {
  const size_t colon = text.find(':');
  const Row& row = row_of({std::string(text.substr(0, colon)), {}});
  ScaleMethod method = row.method;
  if (colon == std::string_view::npos) return method;
  for (const auto& [parameter, value] : read_parameters(text.substr(colon + 1), text)) {
    const auto known = method.parameters.find(parameter);
    if (known == method.parameters.end())
      throw Error(concat("scale method '", text, "': it has no parameter '", parameter,
                         "', expected ", method.text()));
    const Bounds& bounds = row.bounds;
    if (!(value >= bounds.least && value <= bounds.most) ||
        (bounds.whole && value != std::floor(value)))
      throw Error(concat("scale method '", text, "': ", parameter, " is ", value, ", expected ",
                         bounds.whole ? "a whole number from " : "", bounds.least, " to ",
                         bounds.most));
    known->second = value;
  }
  return method;
}

std::string ScaleMethod::text() const {
  std::string text = name;
  for (const auto& [parameter, value] : parameters) {
    char digits[32];
    const auto [end, failure] = std::to_chars(digits, digits + sizeof digits, value);
    text += concat(text.size() == name.size() ? ":" : ",", parameter, "=",
                   std::string_view(digits, static_cast<size_t>(end - digits)));
  }
  return text;
}

TensorScale ScaleMethod::scale_of(const ChannelStatistics& channels) const {
  return row_of(*this).scale_of(channels, *this);
}

bool ScaleMethod::needs_histograms() const { return row_of(*this).needs_histograms; }

bool ScaleMethod::is_symmetric() const { return row_of(*this).symmetric; }

}  // namespace kvcalib
