// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "calibrate/evaluate/estimate.h"

namespace kvcalib {

// Numbers in tables; what is not finite is "-".

// So many significant digits: "0.00017", "25.42", "1.7e-05".
std::string significant(double value, int digits = 4);

// So many decimals: "99.12".
std::string decimals(double value, int count);

// The same with a sign: "+0.31", "-2.00", "0.00" of exact zeros.
std::string signed_decimals(double value, int count);

// "0.0001701 ± 2.1e-06"; of an unknown error, "0.0001701 ± -".
std::string significant(const Estimate& estimate, int digits = 4);
std::string decimals(const Estimate& estimate, int count);
std::string signed_decimals(const Estimate& estimate, int count);

}  // namespace kvcalib
