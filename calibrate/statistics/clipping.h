// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/statistics/kv_scale.h"

namespace kvcalib {

// A sentence each on K and V where scales [layers, ranks] clip what attention reads: where the
// importance-weighted squared error beyond the range alone is more than all that asymmetric scales
// lose, min/max, for some layer and rank.  Nothing where the statistics have no histograms to tell.
std::vector<std::string> clipping_warnings(const KvStatistics& statistics, int64_t ranks,
                                           const ScaleMethod& method,
                                           const std::vector<KvScale>& scales);

}  // namespace kvcalib
