// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/ini_file.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <system_error>

#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"
#include "sharding/files/metadata_file.h"

namespace kvcalib {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

bool is_space(char c) { return std::strchr(" \t\r\v\f", c) != nullptr && c != '\0'; }

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

// The offset of the first of `wanted`, of a ";" after white space, or of the end of `text`.
size_t find_or_comment(std::string_view text, std::string_view wanted) {
  bool after_space = false;
  for (size_t at = 0; at < text.size(); ++at) {
    if (wanted.find(text[at]) != std::string_view::npos) return at;
    if (after_space && text[at] == ';') return at;
    after_space = is_space(text[at]);
  }
  return text.size();
}

size_t skip_space(const std::string& text, size_t begin, size_t end) {
  while (begin < end && is_space(text[begin])) ++begin;
  return begin;
}

size_t strip_space(const std::string& text, size_t begin, size_t end) {
  while (end > begin && is_space(text[end - 1])) --end;
  return end;
}

}  // namespace

IniFile IniFile::read(const std::filesystem::path& path) {
  return parse(read_metadata_file(path), path.string());
}

IniFile IniFile::parse(std::string text, std::string origin) {
  IniFile file;
  file.text_ = std::move(text);
  file.origin_ = std::move(origin);
  if (file.text_.find('\0') != std::string::npos) {
    throw Error(concat(file.origin_, ": holds a zero byte; expected a text file"));
  }
  size_t begin = file.text_.starts_with(kByteOrderMark) ? kByteOrderMark.size() : 0;
  for (int64_t line = 1; begin < file.text_.size(); ++line) {
    const size_t newline = std::min(file.text_.find('\n', begin), file.text_.size());
    file.read_line(begin, newline, line);
    begin = newline + 1;
  }
  if (!file.found_) {
    throw Error(concat(file.origin_, ": has no section [llama]; expected the config.ini of a ",
                       "TurboMind weights directory"));
  }
  return file;
}

void IniFile::read_line(size_t begin, size_t end, int64_t line) {
  end = strip_space(text_, begin, end);
  const size_t start = skip_space(text_, begin, end);
  if (start == end || text_[start] == ';' || text_[start] == '#') return;
  if (start > begin && after_key_) {
    refuse_line(line, "is indented, which continues the value above it; remove the indentation");
  }
  if (text_[start] == '[') {
    if (start > begin && in_llama_)  // behind a key that is still to come, it would continue that
      refuse_line(line, "is an indented [section]; remove the indentation");
    const std::string_view rest = std::string_view(text_).substr(start + 1, end - start - 1);
    const size_t close = find_or_comment(rest, "]");
    if (close == rest.size() || rest[close] != ']')
      refuse_line(line, "has no ']'; expected [llama]");
    in_llama_ = lower(rest.substr(0, close)) == "llama";
    found_ = found_ || in_llama_;
    after_key_ = false;
  } else {
    read_key_value(start, end, line);
    after_key_ = true;
  }
  if (in_llama_) section_end_ = std::min(text_.find('\n', end), text_.size());
}

void IniFile::read_key_value(size_t begin, size_t end, int64_t line) {
  const std::string_view text = std::string_view(text_).substr(begin, end - begin);
  const size_t divider = find_or_comment(text, "=:");
  if (divider == 0 || divider == text.size() || text[divider] == ';') {
    refuse_line(line, "is neither a [section] nor 'key = value'; mend or remove it");
  }
  if (!in_llama_) return;
  Entry entry;
  entry.key = lower(
      std::string_view(text_).substr(begin, strip_space(text_, begin, begin + divider) - begin));
  entry.value_begin = skip_space(text_, begin + divider + 1, end);
  const std::string_view rest =
      std::string_view(text_).substr(entry.value_begin, end - entry.value_begin);
  entry.value_end =
      strip_space(text_, entry.value_begin, entry.value_begin + find_or_comment(rest, ""));
  entry.line = line;
  if (const Entry* earlier = this->entry(entry.key)) {
    refuse_line(line, concat("states '", excerpt(entry.key), "' again (first on line ",
                             earlier->line, "); keep one of them"));
  }
  entries_.push_back(std::move(entry));
}

void IniFile::refuse_line(int64_t line, std::string_view why) const {
  throw Error(concat(origin_, ": line ", line, " ", why));
}

const IniFile::Entry* IniFile::entry(std::string_view key) const {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [name = lower(key)](const Entry& e) { return e.key == name; });
  return found == entries_.end() ? nullptr : &*found;
}

const IniFile::Entry& IniFile::required(std::string_view key) const {
  if (const Entry* found = entry(key)) return *found;
  throw Error(concat(origin_, ": [llama] has no '", key, "'; add the line '", key, " = ...'"));
}

std::string IniFile::value(const Entry& entry) const {
  return text_.substr(entry.value_begin, entry.value_end - entry.value_begin);
}

std::optional<std::string> IniFile::find(std::string_view key) const {
  const Entry* found = entry(key);
  return found != nullptr ? std::optional(value(*found)) : std::nullopt;
}

std::string IniFile::text_of(std::string_view key) const { return value(required(key)); }

int64_t IniFile::to_integer(const Entry& entry) const {
  const std::string text = value(entry);
  const char* const begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const char* const end = text.data() + text.size();
  int64_t result = 0;
  const auto [stop, failure] = std::from_chars(begin, end, result);
  const char* const digits = begin + (begin != end && *begin == '-' ? 1 : 0);
  const bool octal = end - digits > 1 && *digits == '0';  // the runtime reads 010 as 8
  if (failure != std::errc() || stop != end || octal) {
    throw Error(concat(origin_, ": ", entry.key, " = ", excerpt(text),
                       ": not an integer; expected a ", "decimal integer"));
  }
  return result;
}

double IniFile::to_number(const Entry& entry) const {
  const std::string text = value(entry);
  const char* const begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const char* const end = text.data() + text.size();
  double result = 0;
  const auto [stop, failure] = std::from_chars(begin, end, result);
  if (failure != std::errc() || stop != end || !std::isfinite(result)) {
    throw Error(concat(origin_, ": ", entry.key, " = ", excerpt(text),
                       ": not a number; expected a ", "finite decimal number"));
  }
  return result;
}

int64_t IniFile::integer(std::string_view key) const { return to_integer(required(key)); }

int64_t IniFile::integer(std::string_view key, int64_t fallback) const {
  const Entry* found = entry(key);
  return found != nullptr ? to_integer(*found) : fallback;
}

double IniFile::number(std::string_view key) const { return to_number(required(key)); }

double IniFile::number(std::string_view key, double fallback) const {
  const Entry* found = entry(key);
  return found != nullptr ? to_number(*found) : fallback;
}

IniFile IniFile::with(std::string_view key, std::string_view value) const {
  std::string text = text_;
  if (const Entry* found = entry(key)) {
    const char before = text_[found->value_begin - 1];
    const std::string_view gap = before == '=' || before == ':' ? " " : "";
    const bool empty = found->value_begin == found->value_end;
    text.replace(found->value_begin, found->value_end - found->value_begin,
                 concat(empty ? gap : "", value));
  } else {
    const std::string_view line_end = text_.find("\r\n") != std::string::npos ? "\r\n" : "\n";
    const bool ended = section_end_ < text_.size();
    const std::string line = concat(key, " = ", value);
    text.insert(section_end_ + (ended ? 1 : 0),
                ended ? concat(line, line_end) : concat(line_end, line));
  }
  return parse(std::move(text), origin_);
}

}  // namespace kvcalib
