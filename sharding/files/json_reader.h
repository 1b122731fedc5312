// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace kvcalib {

// No text of ours nests arrays and objects deeper: what walks a value may call itself.
inline constexpr int64_t kDeepestJson = 128;

// What takes a JSON text piece by piece.
class JsonEvents {
 public:
  virtual ~JsonEvents() = default;
  virtual void value(nlohmann::json value) = 0;  // neither array nor object
  virtual void begin(bool object) = 0;           // an object, or else an array
  virtual void end() = 0;                        // of the innermost of these
  virtual void key(std::string name) = 0;        // of the next value in an object

 protected:
  JsonEvents() = default;
  JsonEvents(const JsonEvents&) = default;
  JsonEvents& operator=(const JsonEvents&) = default;
};

// Hands all of `text` to `events`.  Returns what is wrong with it, as "is not JSON, at byte 7: ..."
// (counted from 1), having handed over what stands before.  JSON is what RFC 8259 says: UTF-8, no
// NaN, no Infinity, no number beyond a double, no half of a surrogate pair, no zero byte; a byte
// order mark at the start is skipped, and at most kDeepestJson arrays and objects lie in each
// other.  scripts/tokenize_text.py has the same rule.
std::optional<std::string> scan_json(std::string_view text, JsonEvents& events);

// The value of `text`.  Throws Error beginning with `origin` for what scan_json finds wrong, and
// for an object that states a key twice.
nlohmann::json parse_json(std::string_view text, const std::string& origin);
// The value of a metadata file.
nlohmann::json read_json(const std::filesystem::path& file);

// As messages show a value, however large it is: see excerpt.
std::string json_excerpt(const nlohmann::json& value);

}  // namespace kvcalib
