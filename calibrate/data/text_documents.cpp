// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/text_documents.h"

#include <algorithm>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// Books given as .txt are drawn again and again: not to be cut each time.
constexpr size_t kMostRememberedTokens = size_t{16} << 20;

}  // namespace

TextDocuments::TextDocuments(const std::vector<std::filesystem::path>& files,
                             const Tokenizer& tokenizer)
    : tokenizer_(tokenizer), starts_{0} {
  for (const std::filesystem::path& file : files) {
    files_.emplace_back(file);
    starts_.push_back(starts_.back() + files_.back().documents());
  }
}

TextDocuments::Place TextDocuments::place_of(int64_t document) const {
  const auto after = std::upper_bound(starts_.begin(), starts_.end(), document);
  const auto index = std::prev(after) - starts_.begin();
  return {files_.at(index), document - starts_.at(index)};
}

uint64_t TextDocuments::size(int64_t document) const {
  const Place place = place_of(document);
  return place.file.text_bytes(place.document);
}

int64_t TextDocuments::tokens(int64_t document) {
  return static_cast<int64_t>(cut(document).size());
}

void TextDocuments::take(int64_t document, int64_t first, int64_t count, int64_t vocab,
                         std::vector<int32_t>& ids) {
  const std::vector<int32_t>& tokens = cut(document);
  const auto begin = tokens.begin() + first;
  const auto outside =
      std::find_if(begin, begin + count, [&](int32_t id) { return id < 0 || id >= vocab; });
  if (outside != begin + count) {
    const Place place = place_of(document);
    throw Error(concat(place.file.where(place.document), ": token ", outside - tokens.begin(),
                       " is id ", *outside, " ('", tokenizer_.piece(*outside), "') of ",
                       tokenizer_.model().string(), ", but the model's vocabulary has ", vocab,
                       "; is this the model's tokenizer? Name it with --tokenizer"));
  }
  ids.insert(ids.end(), begin, begin + count);
}

const std::vector<int32_t>& TextDocuments::cut(int64_t document) {
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
