// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace kvcalib {

// A JSON object of a file.  A key whose value is null counts as absent.  Throws Error naming file
// and key where a value is not of the type asked for, or is absent and has no default.
class JsonObject {
 public:
  // Throw Error, too, for what parse_json refuses, and for another value than an object.
  static JsonObject read(const std::filesystem::path& file);
  static JsonObject parse(std::string_view text, const std::string& origin);

  const std::string& origin() const { return origin_; }
  bool is_empty() const { return values_.empty(); }
  bool has(std::string_view key) const;
  bool states(std::string_view key) const;                 // also as null
  std::vector<std::string> keys() const;                   // stated, sorted
  const nlohmann::json* find(std::string_view key) const;  // null where absent
  std::string shown(std::string_view key) const;           // its value as JSON

  int64_t integer(std::string_view key) const;
  int64_t integer(std::string_view key, int64_t absent) const;
  double number(std::string_view key) const;
  double number(std::string_view key, double absent) const;
  uint64_t natural(std::string_view key) const;  // from 0 on
  bool flag(std::string_view key) const;
  bool flag(std::string_view key, bool absent) const;
  std::string text(std::string_view key) const;
  std::string text(std::string_view key, std::string_view absent) const;
  std::vector<std::string> texts(std::string_view key) const;  // none where absent
  JsonObject object(std::string_view key) const;               // empty where absent
  std::vector<JsonObject> objects(std::string_view key) const;

  // Throws Error: file (and key of the object in it), then what is wrong.
  [[noreturn]] void refuse(const std::string& what) const;

 private:
  JsonObject(std::string origin, nlohmann::json values)
      : origin_(std::move(origin)), values_(std::move(values)) {}
  const nlohmann::json& at(std::string_view key) const;
  [[noreturn]] void refuse_type(std::string_view key, const char* expected) const;

  std::string origin_;
  nlohmann::json values_;
};

}  // namespace kvcalib
