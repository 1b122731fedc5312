// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "calibrate/evaluate/estimate.h"

namespace kvcalib {

// What a stream wrote behind a prompt.
struct GeneratedAnswer {
  std::string text;       // UTF-8
  std::string extracted;  // what of it is compared
  bool right = false;
  std::vector<int32_t> ids;  // tokens of the text
  bool ended = false;        // by the model itself
};

// The same item's answers under the first stream and under another.
struct AnswerPair {
  std::string id;  // the item's
  GeneratedAnswer first, other;

  bool is_parted() const { return first.text != other.text; }
  // How many tokens they have in common from the beginning.
  int64_t parts_at() const;
};

// A stream's generated texts beside the first's.
struct AnswerAgreement {
  double equal = kUnknown;     // percent of the items whose texts are the same to the letter
  double parts_at = kUnknown;  // median of the first token, from 0, that differs in the others
  // At most kPairsShown of these: lost ones before gained ones before others, in their order.
  std::vector<AnswerPair> shown;
};

inline constexpr size_t kPairsShown = 3;

AnswerAgreement agreement_of(std::span<const AnswerPair> pairs);

}  // namespace kvcalib
