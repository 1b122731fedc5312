// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "calibrate/data/added_tokens.h"
#include "calibrate/data/tokenizer_settings.h"

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace kvcalib {

// tokenizer.model of a weights directory: WEIGHTS/../tokenizer (where deploy.py puts it), then
// WEIGHTS itself.  Throws Error naming both places and --tokenizer; points to
// scripts/tokenize_text.py when only another kind of tokenizer is there.
std::filesystem::path find_tokenizer(const std::filesystem::path& weights_dir);

// A SentencePiece model and what the files beside it say about its use: cuts a text as
// transformers' LlamaTokenizer does (4.46, in Python).  Every text begins with BOS, unless
// a tokenizer_config.json says otherwise or the model has none; control tokens and added tokens in
// the text are themselves, and what lies between two of them is cut as a text is.
class Tokenizer {
 public:
  // Throws Error naming the file, the model's or one beside it, that cannot be read or is not what
  // it must be.
  explicit Tokenizer(const std::filesystem::path& model);
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;
  ~Tokenizer();

  std::vector<int32_t> encode(std::string_view text) const;
  // No text of `text_bytes` bytes of UTF-8 has more tokens.  No bound (2^64 - 1) for a model whose
  // normalisation may lengthen texts.
  uint64_t most_tokens(uint64_t text_bytes) const;
  // What every text begins with.
  std::optional<int32_t> bos() const { return begin_; }
  // What ends a text that a model writes, whether or not it is put behind others.
  std::optional<int32_t> eos() const { return eos_; }
  // The text of ids that stand alone, as of those that a model wrote: what transformers' decode
  // gives with skip_special_tokens=True and clean_up_tokenization_spaces=False, in UTF-8.  Tokens
  // with a part to play are left out and so are ids that are no token; a blank at the beginning is
  // dropped; bytes that are no UTF-8 become U+FFFD each.
  std::string decode(std::span<const int32_t> ids) const;
  // The piece that an id stands for.
  std::string piece(int32_t id) const;
  const std::filesystem::path& model() const { return path_; }
  // What to know of how the files beside the model were read, a sentence each.
  const std::vector<std::string>& warnings() const { return settings_.warnings; }

 private:
  using Processor = sentencepiece::SentencePieceProcessor;

  using IdsByContent = std::map<std::string, int32_t>;

  // Finds the tokens that are to be looked for and their ids; new ones get those behind all others.
  void add_tokens();
  std::optional<AddedToken> token_with_role(std::string_view role) const;
  int32_t id_of(const std::string& content, const IdsByContent& ids) const;
  std::optional<int32_t> piece_of(const std::string& content) const;
  // Of pieces and special tokens; none where the id is neither.
  std::optional<std::string> token_of(int32_t id) const;
  // The text of pieces, without the space that was put before it.
  std::string joined(std::vector<std::string> pieces) const;
  // The ids of a stretch of text without added tokens, behind those that are there.
  void cut(std::string_view text, std::vector<int32_t>& ids) const;
  std::vector<int> pieces_of(std::string_view text) const;

  std::filesystem::path path_;
  std::unique_ptr<Processor> processor_;
  TokenizerSettings settings_;
  AddedTokens added_;
  std::map<int32_t, std::string> tokens_;  // added, with a part to play or without
  std::map<std::string, bool> has_part_;   // of these
  std::optional<int32_t> begin_, end_;     // put before and behind every text
  std::optional<int32_t> eos_;
  std::string unknown_;                          // the unknown token
  size_t unknown_pieces_ = 0;                    // that it is cut into as a text
  std::unordered_map<int, int32_t> renumbered_;  // pieces that are added tokens with other ids
  bool bounded_ = false;
};

}  // namespace kvcalib
