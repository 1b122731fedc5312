// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include "calibrate/evaluate/layer_figures.h"
#include "calibrate/statistics/kv_scale.h"

namespace kvcalib {

// Sentences on what stands out, the most telling first, at most five: scales of two layers or ranks
// exchanged, or of K and V; and K or V of a layer and rank that is clipped, that uses few of the
// codes, or whose error is far above that of the other layers, with what it looks like: a shifted
// zero point, a step too large or too small.  Empty when nothing does.
//
// `scales` are the stream's, [layers, ranks]; empty for formats that have others.
std::vector<std::string> layer_findings(const std::vector<LayerFigures>& layers,
                                        std::span<const KvScale> scales);

}  // namespace kvcalib
