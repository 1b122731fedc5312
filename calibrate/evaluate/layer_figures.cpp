// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/layer_figures.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <stdexcept>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr double kCodes = 256;

double share(uint64_t part, uint64_t all) {
  return all == 0 ? kUnknown : static_cast<double>(part) / static_cast<double>(all);
}

double relative(const SquaredError& squares) {
  if (squares.error == 0 && squares.size == 0) return kUnknown;
  return std::sqrt(squares.error / squares.size);
}

CodeUse sum(std::span<const CodeUse> heads) {
  CodeUse all;
  for (const CodeUse& head : heads) {
    all.values += head.values;
    all.clipped += head.clipped;
    all.lowest = std::min(all.lowest, head.lowest);
    all.highest = std::max(all.highest, head.highest);
  }
  return all;
}

SquaredError sum(std::span<const SquaredError> heads) {
  SquaredError all;
  for (const SquaredError& head : heads) {
    all.error += head.error;
    all.size += head.size;
  }
  return all;
}

// What a rank holds of the heads of one kind, which are none where the profile has none.
template <typename Head>
std::span<const Head> part(const std::vector<Head>& heads, int64_t rank, int64_t ranks) {
  const size_t count = heads.size() / static_cast<size_t>(ranks);
  return std::span(heads).subspan(static_cast<size_t>(rank) * count, count);
}

TensorFigures tensor_figures(std::span<const CodeUse> codes, std::span<const SquaredError> errors) {
  const CodeUse use = sum(codes);
  TensorFigures figures;
  figures.clipped = share(use.clipped, use.values);
  if (use.lowest <= use.highest) {
    figures.lowest = use.lowest;
    figures.highest = use.highest;
  }
  figures.error = relative(sum(errors));
  figures.values = static_cast<int64_t>(use.values);
  return figures;
}

void check_ranks(const LayerProfile& layer, int64_t ranks) {
  for (const size_t heads :
       {layer.key_codes.size(), layer.value_codes.size(), layer.key_error.size(),
        layer.value_error.size(), layer.both_error.size()})
    if (ranks < 1 || heads % static_cast<size_t>(ranks) != 0)
      throw std::invalid_argument(
          concat("layer_figures: ", heads, " kv heads on ", ranks, " ranks"));
}

}  // namespace

double TensorFigures::unused() const {
  return codes_used() == 0 ? kUnknown : 1 - static_cast<double>(codes_used()) / kCodes;
}

std::vector<LayerFigures> layer_figures(const StreamProfile& profile, int64_t ranks) {
  std::vector<LayerFigures> layers;
  for (const LayerProfile& layer : profile) {
    check_ranks(layer, ranks);
    LayerFigures& figures = layers.emplace_back();
    figures.hidden_error = relative(layer.hidden_error);
    for (int64_t rank = 0; rank < ranks; ++rank)
      figures.ranks.push_back(
          {tensor_figures(part(layer.key_codes, rank, ranks), part(layer.key_error, rank, ranks)),
           tensor_figures(part(layer.value_codes, rank, ranks),
                          part(layer.value_error, rank, ranks)),
           relative(sum(part(layer.both_error, rank, ranks)))});
  }
  return layers;
}

double clipped_share(const StreamProfile& profile) {
  CodeUse all;
  for (const LayerProfile& layer : profile)
    for (const std::vector<CodeUse>* codes : {&layer.key_codes, &layer.value_codes}) {
      const CodeUse use = sum(*codes);
      all.values += use.values;
      all.clipped += use.clipped;
    }
  return share(all.clipped, all.values);
}

}  // namespace kvcalib
