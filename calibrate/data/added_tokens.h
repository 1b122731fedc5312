// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kvcalib {

// A token that is looked for in a text before the rest of it is cut, in the words of Hugging Face's
// AddedToken.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool takes_space_before = false, takes_space_after = false;  // lstrip, rstrip
  bool single_word = false;                                    // not where it touches a word
  bool is_special = false;  // has a part to play, as the one that begins a text
};

// The tokens that a tokenizer looks for, as transformers' tokenizers in Python do (4.33 to 4.57,
// PreTrainedTokenizer.tokenize): the first in the text, and of those that begin there the longest.
class AddedTokens {
 public:
  AddedTokens() = default;
  explicit AddedTokens(std::vector<AddedToken> tokens);

  // A stretch of a text that is one of the tokens, or is none and to be cut.
  struct Part {
    std::string text;
    const AddedToken* token = nullptr;
  };
  // The parts of a text in UTF-8, none of them empty.
  std::vector<Part> split(std::string_view text) const;
  // Whether a text has no more parts than it has bytes of tokens in it, and one: then it has no
  // more tokens for being cut in parts, though a space be put before each.
  bool keep_bounds() const;
  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  const AddedToken* at(std::string_view rest) const;
  // The text, cut before and behind each token, nothing else looked at.
  std::vector<std::string> cut(std::string_view text) const;
  const AddedToken* find(std::string_view content) const;

  std::vector<AddedToken> tokens_;  // the longest first
  std::array<bool, 256> begins_{};  // whether one begins with this byte
};

}  // namespace kvcalib
