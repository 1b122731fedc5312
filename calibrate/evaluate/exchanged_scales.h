// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "calibrate/evaluate/layer_figures.h"
#include "calibrate/statistics/kv_scale.h"

namespace kvcalib {

// Sentences on scales that stand in each other's place, as far as the values that went through them
// tell: those of two layers, of two ranks of a layer, of K and V.  Each pair fits the other's
// values far better than its own.  `scales` is [layers, ranks], as `layers` is; the worst first.
std::vector<std::string> exchanged_scales(const std::vector<LayerFigures>& layers,
                                          std::span<const KvScale> scales);

}  // namespace kvcalib
