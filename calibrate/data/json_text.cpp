// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/json_text.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "sharding/files/error.h"
#include "sharding/files/json_reader.h"
#include "sharding/files/utf8.h"

namespace kvcalib {
namespace {

using nlohmann::json;

constexpr const char* kExpected = "expected lines such as {\"text\": \"...\"}";

const char* type_name(const json& value) {
  if (value.is_number()) return "a number";
  return value.is_boolean() ? "a boolean" : "null";
}

// Looks for the top-level 'text' while the line goes by, without building the rest.
class TextFinder final : public JsonEvents {
 public:
  bool is_object = false;
  const char* other = nullptr;  // what 'text' is where it is no string
  std::optional<std::string> text;

  void value(json value) override {
    if (!at_text()) return;
    text.reset();
    if (value.is_string())
      text = std::move(value.get_ref<std::string&>());
    else
      other = type_name(value);
  }
  void begin(bool object) override {
    if (depth_ == 0) is_object = object;
    if (at_text()) {
      text.reset();
      other = object ? "an object" : "an array";
    }
    ++depth_;
  }
  void end() override { --depth_; }
  void key(std::string name) override {
    if (depth_ == 1) key_is_text_ = name == "text";
  }

 private:
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
  if (finder.text) return std::move(*finder.text);
  if (finder.other == nullptr) throw Error(concat(where, ": has no 'text'; ", kExpected));
  throw Error(concat(where, ": 'text' is ", finder.other, ", not a string; ", kExpected));
}

}  // namespace kvcalib
