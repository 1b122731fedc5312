// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/json_text.h"

#include "calibrate/data/utf8.h"
#include "sharding/files/error.h"
#include "sharding/files/json_reader.h"

namespace kvcalib {
namespace {

constexpr const char* kExpected = "expected lines such as {\"text\": \"...\"}";

// Looks for the top-level 'text' while the line goes by, without building the rest.
class TextFinder final : public JsonEvents {
 public:
  bool is_object = false;
  const char* found = nullptr;  // the type of 'text', once seen
  std::string text;

  void value(nlohmann::json value) override {
    if (!at_text()) return;
    found = value.is_string() ? "a string" : value.is_null() ? "null" : other(value);
    if (value.is_string()) text = std::move(value.get_ref<std::string&>());
  }
  void begin(bool object) override {
    if (depth_ == 0) is_object = object;
    if (at_text()) found = object ? "an object" : "an array";
    ++depth_;
  }
  void end() override { --depth_; }
  void key(std::string name) override {
    if (depth_ == 1) key_is_text_ = name == "text";
  }

 private:
  static const char* other(const nlohmann::json& value) {
    return value.is_boolean() ? "a boolean" : "a number";
  }
  bool at_text() const { return is_object && depth_ == 1 && key_is_text_; }

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
  if (const auto fault = scan_json(line, finder))
    throw Error(concat(where, ": ", *fault, "; ", kExpected));
  if (!finder.is_object) throw Error(concat(where, ": is not a JSON object; ", kExpected));
  if (finder.found == nullptr) throw Error(concat(where, ": has no 'text'; ", kExpected));
  if (std::string_view(finder.found) != "a string") {
    throw Error(concat(where, ": 'text' is ", finder.found, ", not a string; ", kExpected));
  }
  return std::move(finder.text);
}

}  // namespace kvcalib
