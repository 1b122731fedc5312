// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/group_scores.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "sharding/files/byte_archive.h"

namespace kvcalib {
template <typename Archive, SameAs<TokenScores> T>
void members(Archive& archive, T& scores) {
  archive(scores.surprise, scores.divergence, scores.reverse_divergence, scores.same_top);
}

template <typename Archive, SameAs<TreeScores> T>
void members(Archive& archive, T& scores) {
  archive(scores.streams);
}

template <typename Archive, SameAs<TreeErrors> T>
void members(Archive& archive, T& errors) {
  archive(errors.tree, errors.values);
}

template <typename Archive, SameAs<CodeUse> T>
void members(Archive& archive, T& codes) {
  archive(codes.values, codes.clipped, codes.lowest, codes.highest);
}

template <typename Archive, SameAs<LayerProfile> T>
void members(Archive& archive, T& layer) {
  archive(layer.key_codes, layer.value_codes);
}

template <typename Archive, SameAs<GroupScores> T>
void members(Archive& archive, T& scores) {
  archive(scores.trees, scores.errors, scores.profiles);
}

namespace {

void add(std::vector<CodeUse>& codes, const std::vector<CodeUse>& more) {
  if (codes.empty()) codes.resize(more.size());
  for (size_t i = 0; i < more.size(); ++i) {
    codes[i].values += more[i].values;
    codes[i].clipped += more[i].clipped;
    codes[i].lowest = std::min(codes[i].lowest, more[i].lowest);
    codes[i].highest = std::max(codes[i].highest, more[i].highest);
  }
}

void add(SquaredError& sum, double error, double size) {
  sum.error += error;
  sum.size += size;
}

// Adds a tree's errors of one layer, TreeErrors::width of them.
void add(LayerProfile& layer, const double* values, int64_t kv_heads) {
  for (std::vector<SquaredError>* errors :
       {&layer.key_error, &layer.value_error, &layer.both_error})
    errors->resize(static_cast<size_t>(kv_heads));
  for (int64_t head = 0; head < kv_heads; ++head, values += 4) {
    const auto index = static_cast<size_t>(head);
    add(layer.key_error[index], values[0], values[3]);
    add(layer.value_error[index], values[1], values[3]);
    add(layer.both_error[index], values[2], values[3]);
  }
  add(layer.hidden_error, values[0], values[1]);
}

}  // namespace

void append(GroupScores& scores, GroupScores&& next) {
  std::move(next.trees.begin(), next.trees.end(), std::back_inserter(scores.trees));
  std::move(next.errors.begin(), next.errors.end(), std::back_inserter(scores.errors));
  if (scores.profiles.empty()) scores.profiles.resize(next.profiles.size());
  for (size_t stream = 0; stream < next.profiles.size(); ++stream) {
    StreamProfile& profile = scores.profiles[stream];
    if (profile.empty()) profile.resize(next.profiles[stream].size());
    for (size_t layer = 0; layer < next.profiles[stream].size(); ++layer) {
      add(profile[layer].key_codes, next.profiles[stream][layer].key_codes);
      add(profile[layer].value_codes, next.profiles[stream][layer].value_codes);
    }
  }
}

std::vector<StreamProfile> whole_profiles(const GroupScores& scores, int64_t layers,
                                          int64_t kv_heads) {
  std::vector<StreamProfile> profiles = scores.profiles;
  const int64_t width = TreeErrors::width(kv_heads);
  for (size_t stream = 0; stream < profiles.size(); ++stream) {
    profiles[stream].resize(static_cast<size_t>(layers));
    for (const TreeErrors& tree : scores.errors) {
      const double* values = tree.values.data() + static_cast<int64_t>(stream) * layers * width;
      for (LayerProfile& layer : profiles[stream]) {
        add(layer, values, kv_heads);
        values += width;
      }
    }
  }
  return profiles;
}

std::string to_bytes(const GroupScores& scores) { return to_archive(scores); }

GroupScores group_scores_of(std::string_view bytes, const std::string& origin) {
  return from_archive<GroupScores>(bytes, origin);
}

}  // namespace kvcalib
