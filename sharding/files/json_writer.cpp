// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/json_writer.h"

#include "sharding/files/utf8.h"

namespace kvcalib {
namespace {

void escape_strings(nlohmann::ordered_json& value) {
  if (value.is_string()) {
    value = escape_invalid_utf8(value.get_ref<const std::string&>());
  } else if (value.is_structured()) {
    for (nlohmann::ordered_json& part : value) escape_strings(part);
  }
}

}  // namespace

std::string escape_invalid_utf8(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string escaped;
  while (true) {
    const size_t valid = first_invalid_utf8(text);
    escaped += text.substr(0, valid);
    if (valid == text.size()) return escaped;
    const auto byte = static_cast<unsigned char>(text[valid]);
    escaped += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    text.remove_prefix(valid + 1);
  }
}

std::string json_text(nlohmann::ordered_json value) {
  escape_strings(value);
  return value.dump(2) + "\n";
}

}  // namespace kvcalib
