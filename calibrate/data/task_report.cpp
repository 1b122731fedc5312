// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/task_report.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <unordered_map>

#include "calibrate/data/task_fields.h"
#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormat = "\"kvcalib-report\"", kFormatKey = "\"format\"";
constexpr int64_t kVersion = 1;
constexpr size_t kLargestReport = size_t{1} << 20;

constexpr std::string_view kKeys[] = {"format", "rows", "version"};
constexpr std::string_view kRowKeys[] = {"dataset", "file", "follows", "task"};

// What is left of a text in front of blanks at its end.
std::string_view without_blanks(std::string_view text) {
  return text.substr(0, text.find_last_not_of(" \t\r\n") + 1);
}

// Whether "format": "kvcalib-report" stands in a text: within a string its quotes would be escaped.
bool states_format(std::string_view text) {
  for (size_t place = text.find(kFormat); place != std::string_view::npos;
       place = text.find(kFormat, place + 1)) {
    std::string_view before = without_blanks(text.substr(0, place));
    if (!before.ends_with(':')) continue;
    before.remove_suffix(1);
    if (without_blanks(before).ends_with(kFormatKey)) return true;
  }
  return false;
}

std::string file_of(const JsonObject& row) {
  std::string file = stated_text(row, "file");
  const fs::path path(file);
  if (path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end() ||
      file.find('\0') != std::string::npos)
    row.refuse(concat("file is '", excerpt(file), "', expected a name below the folder that ",
                      "--data-root names, which does not lead out of it"));
  return file;
}

// Refuses what an earlier row has already; `rows` are those by what they have.
void check_new(const JsonObject& row, std::string_view key, const std::string& value, size_t number,
               std::unordered_map<std::string, size_t>& rows) {
  const auto [earlier, is_new] = rows.emplace(value, number);
  if (!is_new)
    row.refuse(concat(key, " is '", excerpt(value), "', as in entry ", earlier->second,
                      "; leave one of them out"));
}

std::vector<ReportRow> rows_of(const JsonObject& report) {
  std::vector<ReportRow> rows;
  std::unordered_map<std::string, size_t> tasks, files;
  for (const JsonObject& row : report.objects("rows")) {
    check_keys(row, kRowKeys);
    rows.push_back({stated_text(row, "task"), stated_text(row, "dataset"), row.text("follows", ""),
                    file_of(row)});
    check_new(row, "task", rows.back().task, rows.size(), tasks);
    check_new(row, "file", fs::path(rows.back().file).lexically_normal().string(), rows.size(),
              files);
  }
  if (rows.empty()) report.refuse("rows is empty; expected the rows of a table");
  return rows;
}

}  // namespace

bool is_task_report(const fs::path& path) {
  std::string text(kLargestReport, '\0');
  text.resize(InputFile(path).read(0, text));
  return states_format(text);
}

TaskReport read_task_report(const fs::path& path) {
  std::string text;
  TaskReport report;
  report.source = hash_file(path, [&](std::string_view bytes) {
    text += bytes;
    if (text.size() > kLargestReport)
      throw Error(concat(path.string(), ": has more than ", kLargestReport,
                         " bytes, which no list of task files needs"));
  });
  const JsonObject object = JsonObject::parse(text, path.string());
  if (!object.has("format") || object.shown("format") != kFormat)
    object.refuse(concat("does not state \"format\": ", kFormat));
  if (object.integer("version") != kVersion)
    object.refuse(concat("version is ", object.shown("version"), ", expected ", kVersion));
  check_keys(object, kKeys);
  report.rows = rows_of(object);
  return report;
}

}  // namespace kvcalib
