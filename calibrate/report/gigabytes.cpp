// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/gigabytes.h"

#include <iomanip>

#include "sharding/files/error.h"

namespace kvcalib {

std::string gigabytes(uint64_t bytes, int digits) { return bare_gigabytes(bytes, digits) + " GB"; }

std::string bare_gigabytes(uint64_t bytes, int digits) {
  return concat(std::fixed, std::setprecision(digits), static_cast<double>(bytes) / 1e9);
}

}  // namespace kvcalib
