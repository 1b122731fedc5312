// SPDX-License-Identifier: Apache-2.0
#include "calibrate/evaluate/phrases.h"

#include <algorithm>
#include <iomanip>

#include "sharding/files/error.h"

namespace kvcalib {

std::string percent(double share) {
  const double value = 100 * share;
  if (value >= 9.95) return concat(std::fixed, std::setprecision(0), value, " %");
  return concat(std::setprecision(2), value, " %");
}

std::string listed(std::span<const std::string> parts, size_t most) {
  const size_t shown = parts.size() > most + 1 ? most : parts.size();
  std::string text;
  for (size_t i = 0; i < shown; ++i) {
    if (i > 0) text += i + 1 == parts.size() ? " and " : ", ";
    text += parts[i];
  }
  if (shown < parts.size()) text += concat(" and ", parts.size() - shown, " more");
  return text;
}

}  // namespace kvcalib
