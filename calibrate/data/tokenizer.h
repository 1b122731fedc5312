// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace kvcalib {

// tokenizer.model of a weights directory: WEIGHTS/../tokenizer (where deploy.py puts it), then
// WEIGHTS itself.  Throws Error naming both places and --tokenizer; points to
// scripts/tokenize_text.py when only another kind of tokenizer is there.
std::filesystem::path find_tokenizer(const std::filesystem::path& weights_dir);

// A SentencePiece model that begins every text with BOS, unless a tokenizer_config.json beside it
// says "add_bos_token": false or the model has none.
class Tokenizer {
 public:
  // Throws Error naming the file when it cannot be read or is not a SentencePiece model.
  explicit Tokenizer(const std::filesystem::path& model);
  Tokenizer(const Tokenizer&) = delete;
  Tokenizer& operator=(const Tokenizer&) = delete;
  ~Tokenizer();

  std::vector<int32_t> encode(std::string_view text) const;
  // No text of `text_bytes` bytes of UTF-8 has more tokens.  No bound (2^64 - 1) for a model whose
  // normalisation may lengthen texts.
  uint64_t most_tokens(uint64_t text_bytes) const;
  // The piece that an id stands for.
  std::string piece(int32_t id) const;
  const std::filesystem::path& model() const { return path_; }

 private:
  std::filesystem::path path_;
  std::unique_ptr<sentencepiece::SentencePieceProcessor> processor_;
  bool adds_bos_ = true;
  bool bounded_ = false;
};

}  // namespace kvcalib
