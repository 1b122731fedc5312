// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "calibrate/equalise/factors.h"
#include "sharding/formats/layer_plan.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// Weights that take factors have one for each column of their whole tensor, W_o for each row:
// the entries of its axis.

// The factors of a whole tensor's axis.  q and k rotate in interleaved pairs there.  Where the
// model normalises q and k, what is in front of the norms does not count: the norms' weights take
// the factors, of the first head for all.  Empty for a tensor that takes none.
std::vector<double> axis_factors(LayerTensor tensor, const ModelConfig& config,
                                 const LayerFactors& factors);

// Where a stored tensor has the entries of its axis: all elements of a stored row, or of a stored
// column, belong to one.
struct WeightAxis {
  LayerTensor tensor;
  ElementType type;
  int64_t width = 1;          // elements of a stored row
  bool by_row = true;         // else by column
  std::vector<size_t> entry;  // of each stored row or column
};

// Of a range of the plan's files.  Nothing for a tensor that takes no factors.
std::optional<WeightAxis> weight_axis(const LayerPlan& plan, const FileRange& range,
                                      const ModelConfig& config);

// Multiplies elements of a stored tensor, `first` the number of the first, by the factors of its
// axis: in double, rounded to fp32 and from there to their type.  A factor of 1 leaves the bits.
// Returns whether all products are finite.
bool multiply_weights(std::span<std::byte> elements, size_t first, const WeightAxis& axis,
                      std::span<const double> factors);

// How far the weights of an entry can go by powers of two and keep every bit.
struct BitReach {
  int highest = std::numeric_limits<int>::min();  // exponent of the largest
  int lowest = std::numeric_limits<int>::max();   // exponent of the smallest bit of any

  void add(const BitReach& other);
};

// Adds elements to the reach of their entries.
void add_reach(std::span<const std::byte> elements, size_t first, const WeightAxis& axis,
               std::span<BitReach> reach);

// The largest exponent, at most kLargestExponent, by which weights that are stored so can be
// multiplied, or divided, without an overflow or a lost bit; at least 0.
int most_up(const BitReach& reach, ElementType type);
int most_down(const BitReach& reach, ElementType type);

}  // namespace kvcalib
