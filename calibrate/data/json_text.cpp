// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/json_text.h"

#include <nlohmann/json.hpp>

#include "calibrate/data/utf8.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

using nlohmann::json;

constexpr const char* kExpected = "expected lines such as {\"text\": \"...\"}";

// Looks for the top-level 'text' while the line goes by, without building the rest.
class TextFinder final : public json::json_sax_t {
 public:
  bool is_object = false;
  const char* found = nullptr;  // the type of 'text', once seen
  std::string text;
  size_t error_position = 0;

  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("a boolean"); }
  bool number_integer(json::number_integer_t) override { return other("a number"); }
  bool number_unsigned(json::number_unsigned_t) override { return other("a number"); }
  bool number_float(json::number_float_t, const std::string&) override { return other("a number"); }
  bool binary(json::binary_t&) override { return other("binary"); }
  bool string(std::string& value) override {
    if (at_text()) {
      found = "a string";
      text = std::move(value);
    }
    return true;
  }
  bool start_object(size_t) override {
    if (depth_ == 0) is_object = true;
    other("an object");
    ++depth_;
    return true;
  }
  bool start_array(size_t) override {
    other("an array");
    ++depth_;
    return true;
  }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool key(std::string& name) override {
    if (depth_ == 1) key_is_text_ = name == "text";
    return true;
  }
  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    error_position = position;
    return false;
  }

 private:
  bool at_text() const { return is_object && depth_ == 1 && key_is_text_; }
  bool other(const char* type) {
    if (at_text()) found = type;
    return true;
  }
  bool leave() {
    --depth_;
    return true;
  }

  int64_t depth_ = 0;
  bool key_is_text_ = false;
};

}  // namespace

std::string text_of_json_line(std::string_view line, const std::string& where) {
  const size_t invalid = first_invalid_utf8(line);
  if (invalid < line.size()) {
    throw Error(concat(where, ": is not UTF-8 at byte ", invalid + 1, " of the line"));
  }
  TextFinder finder;
  const size_t nul = line.find('\0');  // where the parser would stop without complaint
  const bool parsed = json::sax_parse(line.substr(0, nul), &finder);
  if (!parsed || nul != std::string_view::npos) {
    throw Error(concat(where, ": is not JSON, at byte ", parsed ? nul + 1 : finder.error_position,
                       " of the line; ", kExpected));
  }
  if (!finder.is_object) throw Error(concat(where, ": is not a JSON object; ", kExpected));
  if (finder.found == nullptr) throw Error(concat(where, ": has no 'text'; ", kExpected));
  if (std::string_view(finder.found) != "a string") {
    throw Error(concat(where, ": 'text' is ", finder.found, ", not a string; ", kExpected));
  }
  return std::move(finder.text);
}

}  // namespace kvcalib
