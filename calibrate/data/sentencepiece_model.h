// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace kvcalib {

// The tokenizer of a SentencePiece model that is looked at first: the library trusts it.  Throws
// Error naming the file when it cannot be read, is damaged, or is of another kind: for a vocabulary
// of tiktoken it tells the way out.
std::unique_ptr<sentencepiece::SentencePieceProcessor> open_sentencepiece(
    const std::filesystem::path& model);

// Whether a file is such a vocabulary of tiktoken, as Llama 3 and Qwen have.
bool is_tiktoken_vocabulary(const std::filesystem::path& file);

// The same of a model that puts no space before a text.
std::unique_ptr<sentencepiece::SentencePieceProcessor> without_dummy_prefix(
    const sentencepiece::SentencePieceProcessor& processor);

// Whether texts go through character rules before they are cut.
bool rewrites_characters(const sentencepiece::SentencePieceProcessor& processor);

}  // namespace kvcalib
