// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/hugging_face_window.h"

#include <algorithm>
#include <string>
#include <vector>

#include "sharding/formats/config_numbers.h"

namespace kvcalib {
namespace {

constexpr const char* kWindow = "sliding_window";
constexpr const char* kUsed = "use_sliding_window";
constexpr const char* kFirstLayer = "max_window_layers";
constexpr const char* kTypes = "layer_types";
constexpr const char* kSliding = "sliding_attention";
constexpr const char* kFull = "full_attention";

constexpr int64_t kDefaultWindow = 4096;  // of transformers, where the key is absent, but not null
constexpr int64_t kDefaultFirstLayer = 28;

int64_t stated_window(const JsonObject& config) {
  if (!config.states(kWindow)) return kDefaultWindow;
  return config.has(kWindow) ? positive(config, kWindow) : 0;
}

// The layers that have a window by max_window_layers: those from it on.
std::vector<std::string> types_by_number(int64_t first, int64_t layers) {
  std::vector<std::string> types(static_cast<size_t>(layers), kFull);
  for (int64_t layer = std::max<int64_t>(first, 0); layer < layers; ++layer)
    types[static_cast<size_t>(layer)] = kSliding;
  return types;
}

void check_types(const JsonObject& config, const std::vector<std::string>& types, int64_t layers) {
  if (static_cast<int64_t>(types.size()) != layers)
    config.refuse(concat(kTypes, " has ", types.size(),
                         " entries, and num_hidden_layers = ", layers, ": they disagree"));
  for (const std::string& type : types) {
    if (type != kSliding && type != kFull)
      config.refuse(concat(kTypes, " has '", type, "', expected ", kFull, " or ", kSliding));
  }
}

}  // namespace

int64_t read_sliding_window(const JsonObject& config, const ModelFamily& family, int64_t layers) {
  if (family.window == WindowRule::kNever) return 0;
  const bool has_flag = family.window == WindowRule::kWhereUsed;
  const bool used = !has_flag || config.flag(kUsed, false);
  const int64_t window = used ? stated_window(config) : 0;
  const int64_t first = has_flag ? config.integer(kFirstLayer, kDefaultFirstLayer) : 0;
  std::vector<std::string> types = config.texts(kTypes);
  const bool by_number = types.empty();
  if (by_number) {
    types = types_by_number(window > 0 ? first : layers, layers);
  } else {
    check_types(config, types, layers);
    const bool any = std::find(types.begin(), types.end(), kSliding) != types.end();
    if (any && window == 0)
      config.refuse(concat(kTypes, " has ", kSliding, ", and ",
                           used ? concat(kWindow, " is null") : concat(kUsed, " is false"),
                           ": they disagree; take out the one that is wrong"));
    if (has_flag && window > 0 && config.has(kFirstLayer) &&
        types != types_by_number(first, layers))
      config.refuse(concat(kTypes, " has other layers with a window than ", kFirstLayer, " = ",
                           first, ": they disagree; take out the one that is wrong (transformers ",
                           "goes by ", kTypes, ")"));
  }
  const auto windows = std::count(types.begin(), types.end(), kSliding);
  if (windows != 0 && windows != layers)
    config.refuse(concat(by_number ? kFirstLayer : kTypes,
                         " gives a sliding window to some layers only, which is not supported"));
  return windows == 0 ? 0 : window;
}

}  // namespace kvcalib
