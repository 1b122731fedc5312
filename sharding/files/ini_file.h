// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvcalib {

// The [llama] section of a config.ini as the runtime's INIReader sees it, with the file's bytes.
//
// Section and keys are case-insensitive, "=" or ":" divides key and value, a ";" or "#" at the
// start of a line and a ";" after white space start a comment, a byte order mark is skipped.
// Source: 3rdparty/INIReader.h of LMDeploy.  What that reader, or Python's configparser beside it,
// would silently take for something else is refused: indented lines (they continue the line above)
// and a key that is stated twice.
class IniFile {
 public:
  // Throws Error when the file is absent or unreadable, has no section [llama], or a line of it is
  // neither section nor "key = value" nor comment.
  static IniFile read(const std::filesystem::path& path);
  // `origin` is what messages call the text: usually a path.
  static IniFile parse(std::string text, std::string origin);

  // The value without the white space around it; nothing when [llama] does not have the key.
  std::optional<std::string> find(std::string_view key) const;
  // Throws Error when the key is missing.
  std::string text_of(std::string_view key) const;

  // Throw Error naming file, key and value for what is not a decimal integer that fits (a finite
  // decimal number), and without `fallback` for a missing key.
  int64_t integer(std::string_view key) const;
  int64_t integer(std::string_view key, int64_t fallback) const;
  double number(std::string_view key) const;
  double number(std::string_view key, double fallback) const;

  const std::string& text() const { return text_; }
  const std::string& origin() const { return origin_; }

  // The same bytes but for that key's value.  A missing key becomes a new last line of [llama].
  IniFile with(std::string_view key, std::string_view value) const;

 private:
  // One "key = value" of [llama]; offsets into text_.
  struct Entry {
    std::string key;  // lower case
    size_t value_begin = 0;
    size_t value_end = 0;
    int64_t line = 0;
  };

  const Entry* entry(std::string_view key) const;
  const Entry& required(std::string_view key) const;
  std::string value(const Entry& entry) const;
  int64_t to_integer(const Entry& entry) const;
  double to_number(const Entry& entry) const;
  void read_line(size_t begin, size_t end, int64_t line);
  void read_key_value(size_t begin, size_t end, int64_t line);
  [[noreturn]] void refuse_line(int64_t line, std::string_view why) const;

  std::string text_;
  std::string origin_;
  std::vector<Entry> entries_;
  bool found_ = false;      // a [llama] was seen
  bool in_llama_ = false;   // while parsing
  bool after_key_ = false;  // while parsing: an indented line would continue a value
  size_t section_end_ = 0;  // behind the last line of [llama] that says something
};

}  // namespace kvcalib
