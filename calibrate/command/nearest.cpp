// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/nearest.h"

#include <algorithm>
#include <cstdint>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

int64_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<int64_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int64_t>(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    int64_t diagonal = row[0];
    row[0] = static_cast<int64_t>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int64_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row[b.size()];
}

}  // namespace

std::optional<std::string> nearest(const std::string& wrong,
                                   const std::vector<std::string>& known) {
  std::optional<std::string> best;
  int64_t best_distance = static_cast<int64_t>(wrong.size()) / 2 + 1;
  for (const std::string& name : known) {
    const int64_t distance = edit_distance(wrong, name);
    if (distance >= best_distance) continue;
    best_distance = distance;
    best = name;
  }
  return best;
}

std::string suggestion(const std::string& wrong, const std::vector<std::string>& known) {
  const std::optional<std::string> near = nearest(wrong, known);
  return near ? concat("; did you mean ", *near, "?") : "";
}

}  // namespace kvcalib
