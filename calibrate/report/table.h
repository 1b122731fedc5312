// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kvcalib {

// Cells under a header.  A row may be shorter than it: then its last cell, of words, goes on over
// the columns behind.
struct Table {
  std::vector<std::string> header;
  size_t text_columns = 1;  // the first ones hold words, the others numbers
  std::vector<std::vector<std::string>> rows;
};

// Characters (Unicode code points) of UTF-8.
size_t width_of(std::string_view text);

// Broken at blanks into lines of at most `width` characters where words allow it, those behind the
// first indented by two; ends its lines.
std::string wrapped(std::string_view text, size_t width);

// With columns as wide as they need, words to the left and numbers to the right; lines end without
// blanks.
std::string text_table(const Table& table);

// In Markdown; what would end a cell is escaped.
std::string markdown_table(const Table& table);

}  // namespace kvcalib
