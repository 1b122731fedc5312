// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/data/added_tokens.h"

namespace kvcalib {

// What the files beside a tokenizer.model say about its use, and what transformers' LlamaTokenizer
// (4.46, in Python) takes where they say nothing.
struct TokenizerSettings {
  // Tokens by the part that they have to play ("bos_token").  None: it is stated that there is
  // none.
  using Roles = std::map<std::string, std::optional<AddedToken>, std::less<>>;

  bool adds_bos = true, adds_eos = false;
  bool legacy = true;  // each part of a text that lies between added tokens is cut as a text is
  bool adds_prefix_space = true;   // where that is not so: to the whole text
  bool cuts_added_tokens = false;  // as any other text
  std::vector<AddedToken> added;   // with their ids
  Roles roles;
  std::vector<AddedToken> more_special;  // without ids, as those with a role
  std::vector<std::string> warnings;     // of what is not read, a sentence each
};

// Of tokenizer_config.json, special_tokens_map.json, added_tokens.json and tokenizer.json in a
// folder, as far as they are there.  Throws Error naming file and key for what cannot be
// understood; a tokenizer.json, which is another form of the tokenizer, is warned of and left out.
TokenizerSettings read_tokenizer_settings(const std::filesystem::path& folder);

// The parts to play, in the order in which new tokens are given ids.
inline constexpr std::string_view kTokenRoles[] = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

}  // namespace kvcalib
