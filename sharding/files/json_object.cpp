// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/json_object.h"

#include <algorithm>

#include "sharding/files/error.h"
#include "sharding/files/json_reader.h"
#include "sharding/files/metadata_file.h"

namespace kvcalib {

using nlohmann::json;

JsonObject JsonObject::read(const std::filesystem::path& file) {
  return parse(read_metadata_file(file), file.string());
}

JsonObject JsonObject::parse(std::string_view text, const std::string& origin) {
  json values = parse_json(text, origin);
  if (!values.is_object())
    throw Error(concat(origin, ": is not a JSON object but ", json_excerpt(values)));
  return {origin, std::move(values)};
}

bool JsonObject::has(std::string_view key) const {
  const auto found = values_.find(std::string(key));
  return found != values_.end() && !found->is_null();
}

bool JsonObject::states(std::string_view key) const { return values_.contains(std::string(key)); }

std::vector<std::string> JsonObject::keys() const {
  std::vector<std::string> keys;
  for (const auto& entry : values_.items()) keys.push_back(entry.key());
  return keys;
}

const json* JsonObject::find(std::string_view key) const { return has(key) ? &at(key) : nullptr; }

std::string JsonObject::shown(std::string_view key) const { return json_excerpt(at(key)); }

const json& JsonObject::at(std::string_view key) const {
  if (!has(key)) refuse(concat(key, " is missing"));
  return values_.at(std::string(key));
}

void JsonObject::refuse(const std::string& what) const { throw Error(concat(origin_, ": ", what)); }

void JsonObject::refuse_type(std::string_view key, const char* expected) const {
  refuse(concat(key, " = ", json_excerpt(at(key)), ", expected ", expected));
}

int64_t JsonObject::integer(std::string_view key) const {
  const bool fits =
      at(key).is_number_integer() && (!at(key).is_number_unsigned() ||
                                      at(key).get<uint64_t>() <= static_cast<uint64_t>(INT64_MAX));
  if (!fits) refuse_type(key, "a whole number of 64 bits");
  return at(key).get<int64_t>();
}

int64_t JsonObject::integer(std::string_view key, int64_t absent) const {
  return has(key) ? integer(key) : absent;
}

double JsonObject::number(std::string_view key) const {
  if (!at(key).is_number()) refuse_type(key, "a number");
  return at(key).get<double>();
}

double JsonObject::number(std::string_view key, double absent) const {
  return has(key) ? number(key) : absent;
}

uint64_t JsonObject::natural(std::string_view key) const {
  if (!at(key).is_number_unsigned()) refuse_type(key, "a whole number of 64 bits from 0 on");
  return at(key).get<uint64_t>();
}

bool JsonObject::flag(std::string_view key) const {
  if (!at(key).is_boolean()) refuse_type(key, "true or false");
  return at(key).get<bool>();
}

bool JsonObject::flag(std::string_view key, bool absent) const {
  return has(key) ? flag(key) : absent;
}

std::string JsonObject::text(std::string_view key) const {
  if (!at(key).is_string()) refuse_type(key, "a string");
  return at(key).get<std::string>();
}

std::string JsonObject::text(std::string_view key, std::string_view absent) const {
  return has(key) ? text(key) : std::string(absent);
}

std::vector<std::string> JsonObject::texts(std::string_view key) const {
  if (!has(key)) return {};
  const json& list = at(key);
  if (!list.is_array() ||
      !std::all_of(list.begin(), list.end(), [](const json& entry) { return entry.is_string(); }))
    refuse_type(key, "a list of strings");
  return list.get<std::vector<std::string>>();
}

JsonObject JsonObject::object(std::string_view key) const {
  if (has(key) && !at(key).is_object()) refuse_type(key, "an object");
  return {concat(origin_, ": ", key), has(key) ? at(key) : json::object()};
}

std::vector<JsonObject> JsonObject::objects(std::string_view key) const {
  const json& list = at(key);
  if (!list.is_array() ||
      !std::all_of(list.begin(), list.end(), [](const json& entry) { return entry.is_object(); }))
    refuse_type(key, "a list of objects");
  std::vector<JsonObject> objects;
  for (const json& entry : list)
    objects.push_back({concat(origin_, ": ", key, ", entry ", objects.size() + 1), entry});
  return objects;
}

}  // namespace kvcalib
