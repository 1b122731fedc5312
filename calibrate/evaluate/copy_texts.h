// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "calibrate/evaluate/item_tree.h"

namespace kvcalib {

// Texts of random tokens, which take neither data nor a language.  Equal requests give equal texts.
struct RandomTextRequest {
  int64_t vocab = 0;           // at least kSmallestVocab
  std::optional<int32_t> bos;  // that every text begins with
  int64_t length = 2048;       // most tokens of a text
  uint64_t seed = 0;
  int64_t scored_tokens = 4096;  // of each distance, about
  int64_t recall_items = 64;
};

// Random ids come from [vocab / 16, vocab - vocab / 16): clear of control, byte and added tokens.
inline constexpr int64_t kSmallestVocab = 64;

// Copying: BOS, n random ids, and the same n again, which are scored.
struct CopyTexts {
  int64_t distance = 0;           // n
  std::vector<ScoredTree> trees;  // of one item of one text each
};

// By distance: 16, 64, 256 and 1016, as far as they fit the length.
std::vector<CopyTexts> copy_texts(const RandomTextRequest& request);

inline constexpr int64_t kRecallPairs = 24;

// Recall: BOS, kRecallPairs pairs of a key and a value, all of them different ids, and one of the
// keys again; an item's texts go on with a value each, the last token and the only one scored.
// Gold is the number of the pair that was asked for: the higher, the nearer.  None where the length
// does not hold them.
std::vector<ScoredTree> recall_trees(const RandomTextRequest& request);

}  // namespace kvcalib
