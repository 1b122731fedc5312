// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/config_patch.h"

#include <algorithm>
#include <string_view>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr size_t kContext = 3;
constexpr const char* kSessionKey = "session_len";

// A key that must have a value.
struct Setting {
  const char* key;
  std::string value;
  std::string why;
};

std::vector<Setting> settings_of(const IniFile& config, const TurboMindRelease& release) {
  std::vector<Setting> settings = {
      {"quant_policy", "4", concat(release.name(), " would not use the scales")}};
  if (!release.int8_in_flash_attention)
    settings.push_back({"use_context_fmha", "0",
                        concat("flash attention of ", release.name(), " reads int8 KV as half")});
  const int64_t longest = release.longest_int8_prefill;
  if (longest > 0 && config.integer(kSessionKey, 0) > longest)
    settings.push_back({kSessionKey, concat(longest),
                        concat(release.name(), " prefills int8 KV for no more tokens")});
  return settings;
}

using Lines = std::vector<std::string_view>;  // each with its "\n", if it has one

Lines split_lines(std::string_view text) {
  Lines lines;
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    const size_t size = newline == std::string_view::npos ? text.size() : newline + 1;
    lines.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return lines;
}

// Lines of the old text and what stands in their place: at `old_line` and `new_line` on, counted
// from 0.
struct Change {
  size_t old_line, new_line;
  size_t removed, added;
};

// Setting a key gives its line another value, or adds lines in one place: nothing else is looked
// for.
std::vector<Change> changes_between(const Lines& before, const Lines& after) {
  std::vector<Change> changes;
  size_t pending = after.size() - before.size();  // lines to be added
  for (size_t i = 0, j = 0; j < after.size();) {
    if (i < before.size() && before[i] == after[j]) {
      ++i, ++j;
      continue;
    }
    const bool continues = !changes.empty() &&
                           changes.back().old_line + changes.back().removed == i &&
                           changes.back().new_line + changes.back().added == j;
    if (!continues) changes.push_back({i, j, 0, 0});
    const bool adds = i == before.size() || (pending > 0 && j + pending < after.size() &&
                                             before[i] == after[j + pending]);
    if (adds) {
      changes.back().added += pending;
      j += pending;
      pending = 0;
    } else {
      ++changes.back().removed, ++changes.back().added;
      ++i, ++j;
    }
  }
  return changes;
}

// "12,7" or "12" for one line; of no lines the line before is named.
std::string span_text(size_t first, size_t count) {
  if (count == 1) return concat(first + 1);
  return concat(count == 0 ? first : first + 1, ',', count);
}

void append(std::string& body, char kind, const Lines& lines, size_t begin, size_t end) {
  for (size_t i = begin; i < end; ++i) {
    body += kind;
    body += lines[i];
    if (!lines[i].ends_with('\n')) body += "\n\\ No newline at end of file\n";
  }
}

// Changes that share their context, as one hunk.
std::string hunk(const Lines& before, const Lines& after, const Change* first, const Change* last) {
  const size_t context = std::min(kContext, first->old_line);
  const size_t old_begin = first->old_line - context;
  const size_t new_begin = first->new_line - context;
  std::string body;
  size_t at = old_begin;
  for (const Change* change = first; change <= last; ++change) {
    append(body, ' ', before, at, change->old_line);
    at = change->old_line + change->removed;
    append(body, '-', before, change->old_line, at);
    append(body, '+', after, change->new_line, change->new_line + change->added);
  }
  const size_t old_end = std::min(at + kContext, before.size());
  const size_t new_end = last->new_line + last->added + (old_end - at);
  append(body, ' ', before, at, old_end);
  return concat("@@ -", span_text(old_begin, old_end - old_begin), " +",
                span_text(new_begin, new_end - new_begin), " @@\n", body);
}

}  // namespace

IniFile patch_config(const IniFile& config, const TurboMindRelease& release) {
  IniFile patched = config;
  for (const Setting& setting : settings_of(config, release))
    if (config.find(setting.key) != setting.value)
      patched = patched.with(setting.key, setting.value);
  return patched;
}

std::vector<std::string> config_faults(const IniFile& config, const TurboMindRelease& release) {
  std::vector<std::string> faults;
  for (const auto& [key, value, why] : settings_of(config, release)) {
    const std::optional<std::string> found = config.find(key);
    if (found == value) continue;
    faults.push_back(concat(kTurboMindConfig, ": ",
                            found ? concat(key, " = ", *found) : concat("no ", key), ": ", why,
                            "; expected ", key, " = ", value));
  }
  return faults;
}

std::string config_patch(const IniFile& config, const IniFile& patched) {
  const Lines before = split_lines(config.text());
  const Lines after = split_lines(patched.text());
  const std::vector<Change> changes = changes_between(before, after);
  if (changes.empty()) return "";
  std::string patch = concat("--- a/", kTurboMindConfig, "\n+++ b/", kTurboMindConfig, '\n');
  for (size_t first = 0, last = 0; first < changes.size(); first = ++last) {
    while (last + 1 < changes.size() &&
           changes[last + 1].old_line - (changes[last].old_line + changes[last].removed) <=
               2 * kContext)
      ++last;
    patch += hunk(before, after, &changes[first], &changes[last]);
  }
  return patch;
}

}  // namespace kvcalib
