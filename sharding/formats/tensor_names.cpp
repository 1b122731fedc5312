// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/tensor_names.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// What stands before `name` in a text that ends with it, at a dot.
std::optional<std::string> before(const std::string& text, const std::string& name) {
  if (!text.ends_with(name)) return std::nullopt;
  std::string prefix = text.substr(0, text.size() - name.size());
  if (!prefix.empty() && prefix.back() != '.') return std::nullopt;
  return prefix;
}

std::vector<std::string> prefixes_of(const SafetensorsIndex& index, const std::string& name) {
  std::vector<std::string> found;
  for (const auto& [stored, place] : index.tensors)
    if (std::optional<std::string> prefix = before(stored, name))
      found.push_back(*std::move(prefix));
  return found;
}

// The only one.  Throws Error naming two of several.
std::string only(const std::vector<std::string>& prefixes, const std::string& name,
                 const std::string& origin) {
  if (prefixes.size() > 1)
    throw Error(concat(origin, ": has tensors '", prefixes[0], name, "' and '", prefixes[1], name,
                       "', expected those of one model; take the other's out"));
  return prefixes.front();
}

}  // namespace

TensorNames::TensorNames(const SafetensorsIndex& index, const ModelFamily& family,
                         const std::string& origin)
    : own_(family.layers.substr(0, family.layers.rfind('.') + 1)), inner_(own_) {
  const std::string first =
      concat(family.layers.substr(own_.size()), ".0.", family.attention_norm, ".weight");
  std::vector<std::string> models = prefixes_of(index, first);
  if (models.empty() || std::find(models.begin(), models.end(), own_) != models.end()) return;
  const auto is_whole = [&](const std::string& prefix) {
    return index.has(concat(prefix, family.embedding.substr(own_.size()), ".weight")) &&
           index.has(concat(prefix, family.final_norm.substr(own_.size()), ".weight"));
  };
  // Layers of other parts can be named alike, as those of a vision tower.
  if (std::any_of(models.begin(), models.end(), is_whole))
    std::erase_if(models, std::not_fn(is_whole));
  inner_ = only(models, first, origin);
  outer_ = before(inner_, own_).value_or("");
  const std::string head = concat(family.head, ".weight");
  std::vector<std::string> heads = prefixes_of(index, head);
  std::erase_if(heads, [&](const std::string& prefix) { return !inner_.starts_with(prefix); });
  if (!heads.empty()) outer_ = only(heads, head, origin);
}

std::string TensorNames::stored(std::string_view name) const {
  if (name.starts_with(own_)) return concat(inner_, name.substr(own_.size()));
  return concat(outer_, name);
}

}  // namespace kvcalib
