// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/table.h"

#include <algorithm>

namespace kvcalib {
namespace {

constexpr size_t kGap = 2;

// Whether a cell goes on over the columns behind it.
bool goes_on(const std::vector<std::string>& row, size_t cell, size_t columns) {
  return cell + 1 == row.size() && row.size() < columns;
}

std::vector<size_t> widths_of(const Table& table) {
  std::vector<size_t> widths;
  for (const std::string& title : table.header) widths.push_back(width_of(title));
  for (const std::vector<std::string>& row : table.rows)
    for (size_t c = 0; c < row.size(); ++c)
      if (!goes_on(row, c, widths.size())) widths[c] = std::max(widths[c], width_of(row[c]));
  return widths;
}

void add_line(std::string& text, const std::vector<std::string>& cells,
              const std::vector<size_t>& widths, size_t text_columns) {
  std::string line;
  for (size_t c = 0; c < cells.size(); ++c) {
    if (c > 0) line.append(kGap, ' ');
    if (goes_on(cells, c, widths.size())) {
      line += cells[c];
      break;
    }
    const std::string padding(widths[c] - width_of(cells[c]), ' ');
    line += c < text_columns ? cells[c] + padding : padding + cells[c];
  }
  line.erase(line.find_last_not_of(' ') + 1);
  text += line + "\n";
}

std::string escaped(const std::string& cell) {
  std::string text;
  for (const char character : cell) {
    if (character == '|') text += '\\';
    text += character == '\n' ? ' ' : character;
  }
  return text;
}

void add_markdown_line(std::string& text, const std::vector<std::string>& cells, size_t columns) {
  text += "|";
  for (const std::string& cell : cells) text += " " + escaped(cell) + " |";
  for (size_t c = cells.size(); c < columns; ++c) text += "  |";
  text += "\n";
}

}  // namespace

size_t width_of(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char character) {
    return (static_cast<unsigned char>(character) & 0xC0U) != 0x80U;
  }));
}

std::string wrapped(std::string_view text, size_t width) {
  std::string lines;
  size_t used = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (used > 0 && used + 1 + width_of(word) > width) {
      lines += "\n  ";
      used = 2;
    } else if (!lines.empty()) {
      lines += ' ';
      ++used;
    }
    lines += word;
    used += width_of(word);
  }
  return lines + "\n";
}

std::string text_table(const Table& table) {
  const std::vector<size_t> widths = widths_of(table);
  std::string text;
  add_line(text, table.header, widths, table.text_columns);
  for (const std::vector<std::string>& row : table.rows)
    add_line(text, row, widths, table.text_columns);
  return text;
}

std::string markdown_table(const Table& table) {
  std::string text;
  const size_t columns = table.header.size();
  add_markdown_line(text, table.header, columns);
  text += "|";
  for (size_t c = 0; c < columns; ++c) text += c < table.text_columns ? "---|" : "---:|";
  text += "\n";
  for (const std::vector<std::string>& row : table.rows) add_markdown_line(text, row, columns);
  return text;
}

}  // namespace kvcalib
