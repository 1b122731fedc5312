// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "calibrate/statistics/scale_method.h"

namespace kvcalib {

// The methods that are made of ranges alone.
inline std::vector<ScaleMethod> range_methods() {
  std::vector<ScaleMethod> methods;
  for (const ScaleMethod& method : ScaleMethod::all())
    if (!method.needs_histograms()) methods.push_back(method);
  return methods;
}

}  // namespace kvcalib
