// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/task_fields.h"

#include <algorithm>

#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"
#include "sharding/files/json_reader.h"

namespace kvcalib {

using nlohmann::json;

std::string listed(std::span<const std::string_view> names) {
  std::string list;
  for (const std::string_view name : names) list += concat(list.empty() ? "" : ", ", name);
  return list;
}

void check_keys(const JsonObject& object, std::span<const std::string_view> known) {
  for (const std::string& key : object.keys()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    object.refuse(concat("the key '", excerpt(key), "' is unknown; expected ", listed(known)));
  }
}

std::string stated_text(const JsonObject& object, std::string_view key) {
  std::string text = object.text(key);
  if (text.empty()) object.refuse(concat(key, " is empty"));
  return text;
}

int64_t number_between(const JsonObject& object, std::string_view key, const json& value,
                       int64_t first, int64_t limit, const char* what) {
  const bool fits = value.is_number_unsigned() &&
                    value.get<uint64_t>() >= static_cast<uint64_t>(first) &&
                    value.get<uint64_t>() < static_cast<uint64_t>(std::max(limit, first));
  if (!fits) {
    object.refuse(concat(key, " holds ", json_excerpt(value), ", expected ", what, " from ", first,
                         " to ", limit - 1));
  }
  return value.get<int64_t>();
}

int64_t number_below(const JsonObject& object, std::string_view key, const json& value,
                     int64_t limit, const char* what) {
  return number_between(object, key, value, 0, limit, what);
}

const json& list_of(const JsonObject& object, std::string_view key) {
  const json* list = object.find(key);
  if (list == nullptr) object.refuse(concat(key, " is missing"));
  if (!list->is_array())
    object.refuse(concat(key, " = ", json_excerpt(*list), ", expected a list"));
  return *list;
}

}  // namespace kvcalib
