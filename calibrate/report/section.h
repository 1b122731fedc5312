// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "calibrate/report/table.h"

namespace kvcalib {

// A part of a report: a title, a table, and lines below it; each may be empty.
struct Section {
  std::string title;
  Table table;
  std::vector<std::string> lines;
};

}  // namespace kvcalib
