// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

namespace kvcalib {

// What a stream says of the tokens of a tree, by token; 0 where a token is not scored.
struct TokenScores {
  // -ln of the token's probability behind those before it, under this stream.
  std::vector<float> surprise;
  // Of the distributions behind the tokens before it, against those of the first stream, of which
  // these are empty: KL(first || this) and KL(this || first) in nats, and whether both have the
  // same most likely token.
  std::vector<float> divergence, reverse_divergence;
  std::vector<uint8_t> same_top;

  bool operator==(const TokenScores&) const = default;
};

// Of one tree: every stream that took it, in their order.
struct TreeScores {
  std::vector<TokenScores> streams;

  bool operator==(const TreeScores&) const = default;
};

}  // namespace kvcalib
