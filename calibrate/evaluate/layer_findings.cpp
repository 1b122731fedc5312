// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/layer_findings.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <iomanip>
#include <optional>
#include <set>
#include <utility>

#include "calibrate/evaluate/exchanged_scales.h"
#include "calibrate/evaluate/percentiles.h"
#include "calibrate/evaluate/phrases.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr size_t kMostSentences = 5;
constexpr size_t kLayersNamed = 3;  // of one kind of finding; of more, the worst
constexpr int64_t kFirstCode = -128, kLastCode = 127;

// Min/max scales clip a few values in a million of other text.
constexpr double kMuchClipped = 1e-3;
// With clipping at one end, what is left free at the other end when a zero point is off: a tenth of
// the codes.
constexpr int64_t kFreeEnd = 26;
constexpr double kClippedAtFreeEnd = 2e-3;
// A step that is four times too large leaves 64 or 65 of the 256 codes in use.
constexpr double kFewCodes = 0.3 * 256;
// Fewer values, those of 64 tokens and a head of 128, need not reach the ends of what was
// calibrated.
constexpr int64_t kFewestValues = int64_t{1} << 13;
// Less clipping than this tells of a fault only where it costs something.
constexpr double kClippedWhateverItCosts = 0.01;
// Layers differ by up to three times of themselves.
constexpr double kErrorFactor = 4;

enum class Kind : uint8_t { kShifted, kClipped, kFewCodes, kError };

// A tensor of one layer and rank that stands out.
struct Spot {
  size_t layer = 0, rank = 0;
  const char* symbol = "";
  TensorFigures figures;
  double error_factor = kUnknown;  // times the median of the other layers
  Kind kind = Kind::kError;
  double severity = 0;  // times what it takes to be told
};

struct Tensor {
  const char* symbol;
  TensorFigures RankFigures::*figures;
};
constexpr std::array kTensors = {Tensor{"K", &RankFigures::keys},
                                 Tensor{"V", &RankFigures::values}};

double typical_error(const std::vector<LayerFigures>& layers, size_t but, const Tensor& tensor) {
  std::vector<double> errors;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    if (layer == but) continue;
    for (const RankFigures& rank : layers[layer].ranks)
      if (const double error = (rank.*tensor.figures).error; std::isfinite(error))
        errors.push_back(error);
  }
  return median(std::move(errors));
}

// Codes at one end that no value took, while the other end was not far enough.
bool has_free_end(const TensorFigures& figures) {
  const int64_t below = figures.lowest - kFirstCode, above = kLastCode - figures.highest;
  return figures.codes_used() > 0 && std::min(below, above) == 0 &&
         std::max(below, above) >= kFreeEnd;
}

std::optional<Spot> classified(Spot spot) {
  const TensorFigures& figures = spot.figures;
  const bool tells = figures.values >= kFewestValues;
  const double error = spot.error_factor / kErrorFactor;
  const bool costs = !(figures.clipped < kClippedWhateverItCosts) || !(error < 1);
  const double clipped = tells && costs ? figures.clipped / kMuchClipped : 0;
  const double few =
      tells && figures.codes_used() > 0 ? kFewCodes / static_cast<double>(figures.codes_used()) : 0;
  const bool shifted = tells && figures.clipped > kClippedAtFreeEnd && has_free_end(figures);
  if (!shifted && !(clipped > 1) && !(few > 1) && !(error > 1)) return {};
  spot.kind = shifted ? Kind::kShifted
                      : (clipped > 1 ? Kind::kClipped : (few > 1 ? Kind::kFewCodes : Kind::kError));
  spot.severity = std::fmax(std::fmax(clipped, few), error);
  return spot;
}

std::vector<Spot> spots_of(const std::vector<LayerFigures>& layers) {
  std::vector<Spot> spots;
  for (size_t layer = 0; layer < layers.size(); ++layer)
    for (const Tensor& tensor : kTensors) {
      const double typical = typical_error(layers, layer, tensor);
      for (size_t rank = 0; rank < layers[layer].ranks.size(); ++rank) {
        const TensorFigures& figures = layers[layer].ranks[rank].*tensor.figures;
        const double factor = typical > 0 ? figures.error / typical : kUnknown;
        if (const auto spot = classified({layer, rank, tensor.symbol, figures, factor}))
          spots.push_back(*spot);
      }
    }
  std::stable_sort(spots.begin(), spots.end(),
                   [](const Spot& a, const Spot& b) { return a.severity > b.severity; });
  return spots;
}

std::string what(const Spot& spot) {
  const TensorFigures& figures = spot.figures;
  const std::string clipped = concat(percent(figures.clipped), " of the values are clipped");
  const std::string codes = concat(figures.codes_used(), " of the 256 codes are used");
  switch (spot.kind) {
    case Kind::kShifted:
      return concat(clipped, " at the ", figures.highest == kLastCode ? "upper" : "lower",
                    " end and only ", codes, ", as with a shifted zero point");
    case Kind::kClipped:
      return concat(clipped, ", as with a step too small");
    case Kind::kFewCodes:
      return concat("only ", codes, ", as with a step ", std::setprecision(2),
                    256.0 / static_cast<double>(figures.codes_used()), " times too large");
    case Kind::kError:
      break;
  }
  return "it costs more than elsewhere";
}

std::string error_of(const Spot& spot) {
  if (!std::isfinite(spot.figures.error)) return "";
  std::string text = concat("; error of the attention output ", percent(spot.figures.error));
  if (spot.error_factor > kErrorFactor / 2)
    text += concat(", ", std::setprecision(2), spot.error_factor,
                   " times the median of the other layers");
  return text;
}

// One sentence for the spots of a kind of K or V: `alike` begins with the worst.
std::vector<std::string> sentences_of(const std::vector<Spot>& alike) {
  std::vector<size_t> layers;  // the worst first
  for (const Spot& spot : alike)
    if (std::find(layers.begin(), layers.end(), spot.layer) == layers.end())
      layers.push_back(spot.layer);
  const size_t named = layers.size() > kLayersNamed ? 1 : layers.size();
  std::vector<std::string> sentences;
  for (size_t i = 0; i < named; ++i) {
    std::set<size_t> ranks;
    const Spot* worst = nullptr;
    for (const Spot& spot : alike) {
      if (spot.layer != layers[i]) continue;
      if (worst == nullptr) worst = &spot;
      ranks.insert(spot.rank);
    }
    std::vector<std::string> names;
    for (const size_t rank : ranks) names.push_back(concat(rank));
    sentences.push_back(concat("layer ", worst->layer, ranks.size() > 1 ? " ranks " : " rank ",
                               listed(names), ": ", worst->symbol, ": ", what(*worst),
                               error_of(*worst)));
  }
  if (named < layers.size())
    sentences.back() += concat("; the like in ", layers.size() - named, " other layers");
  return sentences;
}

}  // namespace

std::vector<std::string> layer_findings(const std::vector<LayerFigures>& layers,
                                        std::span<const KvScale> scales) {
  std::vector<std::string> sentences;
  if (!scales.empty()) sentences = exchanged_scales(layers, scales);
  std::vector<Spot> spots = spots_of(layers);
  while (!spots.empty()) {
    std::vector<Spot> alike;
    const Spot worst = spots.front();
    const auto is_alike = [&](const Spot& spot) {
      return spot.kind == worst.kind && spot.symbol == worst.symbol;
    };
    std::copy_if(spots.begin(), spots.end(), std::back_inserter(alike), is_alike);
    std::erase_if(spots, is_alike);
    for (std::string& sentence : sentences_of(alike)) sentences.push_back(std::move(sentence));
  }
  if (sentences.size() > kMostSentences) sentences.resize(kMostSentences);
  return sentences;
}

}  // namespace kvcalib
