// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "sharding/files/json_object.h"

namespace kvcalib {

// What the lines of a task file have in common.  All throw Error naming file, line and key.

// Refuses keys other than those.
void check_keys(const JsonObject& object, std::span<const std::string_view> known);

// A text that is not empty.
std::string stated_text(const JsonObject& object, std::string_view key);

// `value`, which stands at or below `key`: an integer in [first, limit).  `what` says of what, as
// in "a place in text 0,".
int64_t number_between(const JsonObject& object, std::string_view key, const nlohmann::json& value,
                       int64_t first, int64_t limit, const char* what);
// The same from 0 on.
int64_t number_below(const JsonObject& object, std::string_view key, const nlohmann::json& value,
                     int64_t limit, const char* what);

const nlohmann::json& list_of(const JsonObject& object, std::string_view key);

// "ppl, ll, gen"
std::string listed(std::span<const std::string_view> names);

}  // namespace kvcalib
