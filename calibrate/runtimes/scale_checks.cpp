// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/scale_checks.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr float kNearlySame = 1e-2f;  // of reciprocals that went through a 16-bit type

constexpr size_t kShownFaults = 8;  // of one kind

bool is_scale(float value) { return std::isfinite(value) && value > 0.0f; }

// Whether there are such scales, and each is 1.
bool all_one(const ScaleTable& table, std::vector<float> LayerScales::*scales) {
  bool any = false;
  for (const LayerScales& layer : table)
    for (const float scale : layer.*scales) {
      if (scale != 1.0f) return false;
      any = true;
    }
  return any;
}

bool is_reciprocal(const std::vector<float>& found, const std::vector<float>& expected) {
  if (found.size() != expected.size()) return false;
  for (size_t i = 0; i < found.size(); ++i)
    if (!(std::fabs(found[i] * expected[i] - 1.0f) < kNearlySame)) return false;
  return true;
}

// Whether `same` holds for every layer.
bool all_layers(const ScaleTable& found, const ScaleTable& expected,
                const std::function<bool(const LayerScales&, const LayerScales&)>& same) {
  return std::equal(found.begin(), found.end(), expected.begin(), expected.end(), same);
}

// The layer whose scales stand in the place of `layer`'s.
std::optional<size_t> layer_in_place(const ScaleTable& found, const ScaleTable& expected,
                                     size_t layer) {
  const auto other = std::find(expected.begin(), expected.end(), found[layer]);
  if (other == expected.end()) return std::nullopt;
  return static_cast<size_t>(other - expected.begin());
}

// "layer 3, K: 0.5, expected 0.25": the first that is not as expected.
std::string first_difference(const ScaleTable& found, const ScaleTable& expected, size_t layer) {
  const auto of = [&](const char* symbol, const std::vector<float>& one,
                      const std::vector<float>& other) -> std::string {
    if (one.size() != other.size())
      return concat("layer ", layer, ", ", symbol, ": ", one.size(), " scales, expected ",
                    other.size());
    for (size_t i = 0; i < one.size(); ++i)
      if (one[i] != other[i])
        return concat("layer ", layer, ", ", symbol,
                      one.size() > 1 ? concat(", scale ", i) : std::string(), ": ", one[i],
                      ", expected ", other[i]);
    return "";
  };
  const std::string keys = of("K", found[layer].keys, expected[layer].keys);
  return keys.empty() ? of("V", found[layer].values, expected[layer].values) : keys;
}

}  // namespace

void add_faults(const std::string& file, const std::vector<std::string>& faults,
                VerifyReport& report) {
  for (size_t i = 0; i < std::min(faults.size(), kShownFaults); ++i)
    report.faults.push_back(concat(file, ": ", faults[i]));
  if (faults.size() > kShownFaults)
    report.faults.push_back(
        concat(file, ": and ", faults.size() - kShownFaults, " more faults of that kind"));
}

void check_values(const std::string& file, const ScaleTable& found, VerifyReport& report,
                  float floor) {
  std::vector<std::string> wrong, unmeasured;
  for (size_t layer = 0; layer < found.size(); ++layer)
    for (const auto& [symbol, scales] :
         {std::pair("K", &found[layer].keys), std::pair("V", &found[layer].values)}) {
      const auto bad = std::find_if_not(scales->begin(), scales->end(), is_scale);
      if (bad != scales->end())
        wrong.push_back(concat("layer ", layer, ", ", symbol, ": scale ", *bad,
                               ", expected a finite number above 0; export again"));
      else if (!scales->empty() && std::all_of(scales->begin(), scales->end(),
                                               [&](float scale) { return scale <= floor; }))
        unmeasured.push_back(concat("layer ", layer, ", ", symbol, ": no scale is above ", floor,
                                    ", the least there is: nothing was measured there; calibrate ",
                                    "again"));
    }
  add_faults(file, wrong, report);
  add_faults(file, unmeasured, report);
  const bool keys = all_one(found, &LayerScales::keys),
             values = all_one(found, &LayerScales::values);
  const bool shared = std::all_of(found.begin(), found.end(),
                                  [](const LayerScales& layer) { return layer.values.empty(); });
  if (keys || values)
    report.faults.push_back(concat(file, ": all scales ",
                                   keys && (values || shared) ? ""
                                   : keys                     ? "of K "
                                                              : "of V ",
                                   "are 1, which is what stands where nothing was measured; ",
                                   "export from statistics"));
}

void compare_scales(const std::string& file, const ScaleTable& found, const ScaleTable& expected,
                    VerifyReport& report, int64_t head_dim) {
  if (found == expected) return;
  const auto fault = [&](const auto&... parts) {
    report.faults.push_back(concat(file, ": ", parts..., "; export again"));
  };
  if (found.size() != expected.size())
    return fault("scales of ", found.size(), " layers, expected ", expected.size());
  if (all_layers(found, expected, [](const LayerScales& one, const LayerScales& other) {
        return is_reciprocal(one.keys, other.keys) && is_reciprocal(one.values, other.values);
      }))
    return fault("the scales are the reciprocals of those that ", kStatisticsFileName,
                 " gives: ", "a value is its code times the scale");
  if (all_layers(found, expected, [](const LayerScales& one, const LayerScales& other) {
        return one.keys == other.values && one.values == other.keys;
      }))
    return fault("K has V's scales and V has K's, by ", kStatisticsFileName);
  if (head_dim > 0 &&
      all_layers(found, expected, [&](const LayerScales& one, const LayerScales& other) {
        return one.keys == pairs_of_halves(other.keys, head_dim) && one.values == other.values;
      }))
    return fault("the channels of K stand in interleaved pairs, expected in the checkpoint's own ",
                 "order, the first half of a head before the second");
  size_t wrong = 0;
  std::string first;
  for (size_t layer = 0; layer < found.size(); ++layer) {
    if (found[layer] == expected[layer]) continue;
    if (wrong++ > 0) continue;
    const std::optional<size_t> other = layer_in_place(found, expected, layer);
    first = other ? concat("layer ", layer, " has the scales of layer ", *other)
                  : first_difference(found, expected, layer);
  }
  fault("not what ", kStatisticsFileName, " gives in ", wrong, " of ", found.size(),
        " layers: ", first);
}

}  // namespace kvcalib
