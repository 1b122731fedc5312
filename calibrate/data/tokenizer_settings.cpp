// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/tokenizer_settings.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/json_reader.h"

namespace kvcalib {
namespace {

using nlohmann::json;
using std::filesystem::path;

constexpr const char* kAddedTokensOfConfig = "added_tokens_decoder";
constexpr const char* kMoreSpecial = "additional_special_tokens";

// A JSON file and the object in it.
struct File {
  std::string name;
  json values;

  bool has(const char* key) const { return values.contains(key); }
  [[noreturn]] void refuse(const std::string& key, const std::string& expected) const {
    throw Error(concat(name, ": ", excerpt(key), " is not understood; expected ", expected));
  }
};

// Empty where the file is not there.
File read(const path& file) {
  if (kind_behind(file) == FileKind::kNothing) return {file.string(), json::object()};
  json values = read_json(file);
  if (!values.is_object()) throw Error(concat(file.string(), ": is not a JSON object"));
  return {file.string(), std::move(values)};
}

// As Python takes it: null is no.
bool flag(const File& file, const json& values, const char* key, bool absent) {
  const auto entry = values.find(key);
  if (entry == values.end()) return absent;
  if (entry->is_null()) return false;
  if (!entry->is_boolean())
    throw Error(
        concat(file.name, ": ", key, " is ", json_excerpt(*entry), "; expected true or false"));
  return entry->get<bool>();
}

// A token: its text, or an object as AddedToken has it.
AddedToken token_of(const File& file, const std::string& key, const json& value) {
  if (value.is_string()) return {.content = value.get<std::string>()};
  if (!value.is_object() || !value.contains("content") || !value["content"].is_string())
    file.refuse(key, "a text, or an object with a text 'content'");
  return {.content = value["content"].get<std::string>(),
          .takes_space_before = flag(file, value, "lstrip", false),
          .takes_space_after = flag(file, value, "rstrip", false),
          .single_word = flag(file, value, "single_word", false)};
}

int32_t id_of(const File& file, const std::string& token, const json& value) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(kMost))
    file.refuse("the id of '" + token + "'", concat("a number from 0 to ", kMost));
  return value.get<int32_t>();
}

int32_t id_of(const File& file, const std::string& digits) {
  int32_t id = 0;
  const char* const end = digits.data() + digits.size();
  const auto [rest, failure] = std::from_chars(digits.data(), end, id);
  if (failure != std::errc() || rest != end || id < 0)
    file.refuse(concat(kAddedTokensOfConfig, "'s '", digits, "'"), "the id of a token");
  return id;
}

// Added tokens by id: the last that a file names counts.
using AddedById = std::map<int32_t, AddedToken>;

void put(AddedById& added, int32_t id, AddedToken token) {
  token.id = id;
  added[id] = std::move(token);
}

AddedById added_of_config(const File& config) {
  AddedById added;
  const json& tokens = config.values[kAddedTokensOfConfig];
  if (!tokens.is_object()) config.refuse(kAddedTokensOfConfig, "an object");
  for (const auto& [digits, value] : tokens.items()) {
    if (!value.is_object())
      config.refuse(concat(kAddedTokensOfConfig, "'s '", digits, "'"), "an object");
    put(added, id_of(config, digits), token_of(config, kAddedTokensOfConfig, value));
  }
  return added;
}

// As tokenizers were stored before that: {"TEXT": ID}.
void read_added_tokens(const File& file, AddedById& added) {
  for (const auto& [content, id] : file.values.items())
    put(added, id_of(file, content, id), {.content = content});
}

// Of the tokenizer.json of the same model.
void read_added_of_tokenizer(const File& file, AddedById& added) {
  constexpr const char* kKey = "added_tokens";
  if (!file.has(kKey)) return;
  if (!file.values[kKey].is_array()) file.refuse(kKey, "an array");
  for (const json& value : file.values[kKey]) {
    const AddedToken token = token_of(file, kKey, value);
    put(added, id_of(file, token.content, value.is_object() ? value.value("id", json()) : json()),
        token);
  }
}

void read_roles(const File& file, TokenizerSettings& settings) {
  for (const std::string_view role : kTokenRoles) {
    const std::string key(role);
    if (!file.has(key.c_str())) continue;
    const json& value = file.values[key];
    settings.roles[key] =
        value.is_null() ? std::nullopt : std::optional(token_of(file, key, value));
  }
  if (!file.has(kMoreSpecial) || file.values[kMoreSpecial].is_null()) return;
  if (!file.values[kMoreSpecial].is_array()) file.refuse(kMoreSpecial, "an array");
  for (const json& value : file.values[kMoreSpecial])
    settings.more_special.push_back(token_of(file, kMoreSpecial, value));
}

// A damaged one, or one that was not fetched, keeps nobody from the tokenizer.model beside it.
AddedById read_other_form(const path& file, std::vector<std::string>& warnings) {
  try {
    AddedById added;
    read_added_of_tokenizer(read(file), added);
    return added;
  } catch (const Error& error) {
    warnings.push_back(concat(error.what(), " (tokenizer.model is used without the tokens that ",
                              "this file may add)"));
    return {};
  }
}

// A token with a part to play is looked for as it is stated where tokens are listed with all that
// they are.
void take_from(const AddedById& listed, AddedToken& special) {
  for (const auto& [id, token] : listed) {
    if (token.content == special.content) special = token;
  }
}

}  // namespace

TokenizerSettings read_tokenizer_settings(const path& folder) {
  const File config = read(folder / "tokenizer_config.json");
  TokenizerSettings settings;
  settings.adds_bos = flag(config, config.values, "add_bos_token", true);
  settings.adds_eos = flag(config, config.values, "add_eos_token", false);
  settings.adds_prefix_space = flag(config, config.values, "add_prefix_space", true);
  settings.cuts_added_tokens = flag(config, config.values, "split_special_tokens", false);
  const auto legacy = config.values.find("legacy");
  settings.legacy = legacy == config.values.end() || legacy->is_null() ||
                    flag(config, config.values, "legacy", true);
  read_roles(config, settings);

  AddedById added, listed;
  if (config.has(kAddedTokensOfConfig)) {
    added = listed = added_of_config(config);
  } else {
    read_roles(read(folder / "special_tokens_map.json"), settings);
    read_added_tokens(read(folder / "added_tokens.json"), added);
    listed = read_other_form(folder / "tokenizer.json", settings.warnings);
    for (const auto& [id, token] : listed) added[id] = token;
  }
  for (auto& [role, token] : settings.roles) {
    if (token) take_from(listed, *token);
  }
  for (AddedToken& token : settings.more_special) take_from(listed, token);
  for (const auto& [id, token] : added) settings.added.push_back(token);
  return settings;
}

}  // namespace kvcalib
