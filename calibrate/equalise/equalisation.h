// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "calibrate/equalise/factors.h"
#include "calibrate/statistics/kv_statistics.h"
#include "sharding/formats/weight_directory.h"

namespace kvcalib {

// How far factors may go.
enum class FactorRule {
  kFree,   // even_factors: all ranges of a layer become equal, weights are rounded once
  kExact,  // powers of two that keep every bit of every weight: even_exponents, and less where
           // weights would leave their type
};

// How many rotary pairs of K or channels of V there are, and how they fared.
struct FactorCounts {
  int64_t all = 0;
  int64_t still = 0;    // of range 0: left alone
  int64_t bounded = 0;  // by kLargestFactor
  int64_t held = 0;     // kExact: given less than would be even, as weights would lose bits
};

// The factors of a model.
struct Equalisation {
  std::vector<LayerFactors> layers;
  FactorCounts keys, values;
};

// Of the model that the statistics are of, by the ranges that they have.  kExact reads the weights
// that take factors, a tensor at a time; `stopped`, asked between them, may be empty.  Throws Error
// naming a file that cannot be read, and when it was stopped.
Equalisation plan_equalisation(const WeightDirectory& weights, const KvStatistics& statistics,
                               FactorRule rule, const std::function<bool()>& stopped);

}  // namespace kvcalib
