// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/corpus.h"

#include <algorithm>

namespace kvcalib {
namespace {

// Books given as .txt are drawn again and again: not to be cut each time.
constexpr size_t kMostRememberedTokens = size_t{16} << 20;

}  // namespace

Corpus::Corpus(const std::vector<std::filesystem::path>& files, const Tokenizer& tokenizer)
    : tokenizer_(tokenizer), starts_{0} {
  for (const std::filesystem::path& file : files) {
    files_.emplace_back(file);
    starts_.push_back(starts_.back() + files_.back().documents());
  }
}

Corpus::Place Corpus::place_of(int64_t document) const {
  const auto after = std::upper_bound(starts_.begin(), starts_.end(), document);
  const auto index = std::prev(after) - starts_.begin();
  return {files_.at(index), document - starts_.at(index)};
}

uint64_t Corpus::text_bytes(int64_t document) const {
  const Place place = place_of(document);
  return place.file.text_bytes(place.document);
}

std::string Corpus::where(int64_t document) const {
  const Place place = place_of(document);
  return place.file.where(place.document);
}

const std::vector<int32_t>& Corpus::tokens(int64_t document) {
  const auto known = remembered_.find(document);
  if (known != remembered_.end()) return known->second;
  const Place place = place_of(document);
  std::vector<int32_t> tokens = tokenizer_.encode(place.file.text(place.document));
  if (remembered_tokens_ + tokens.size() > kMostRememberedTokens) {
    remembered_.clear();
    remembered_tokens_ = 0;
  }
  remembered_tokens_ += tokens.size();
  return remembered_.emplace(document, std::move(tokens)).first->second;
}

}  // namespace kvcalib
