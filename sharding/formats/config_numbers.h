// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

#include "sharding/files/error.h"
#include "sharding/files/json_object.h"
#include "sharding/formats/model_bounds.h"

namespace kvcalib {

// Of a JsonObject or an IniFile.  Throws Error naming the key unless it is a whole number from 1 to
// `most`.
template <typename Config>
int64_t positive(const Config& config, std::string_view key, int64_t most = kLargestSize) {
  const int64_t value = config.integer(key);
  if (value <= 0 || value > most)
    throw Error(concat(config.origin(), ": ", key, " = ", value,
                       ", expected a positive number up to ", most));
  return value;
}

inline double positive_number(const JsonObject& config, std::string_view key) {
  const double value = config.number(key);
  if (!(value > 0)) config.refuse(concat(key, " = ", value, ", expected > 0"));
  return value;
}

}  // namespace kvcalib
