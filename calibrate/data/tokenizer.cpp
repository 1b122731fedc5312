// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "calibrate/data/sentencepiece_model.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/ranged_file.h"

namespace kvcalib {
namespace {

using std::filesystem::path;

constexpr const char* kModelName = "tokenizer.model";
constexpr const char* kOtherKind =
    "; write the token ids with scripts/tokenize_text.py and give them as --data IDS.npy";

bool is_other_kind(const path& file) {
  return file.extension() == ".json" || file.extension() == ".tiktoken";
}

// WEIGHTS/.. as the system resolves it, spelt as plainly as possible.
path parent_of(const path& weights_dir) {
  const path parent = weights_dir / "..";
  const path named = weights_dir.has_filename() ? weights_dir : weights_dir.parent_path();
  return kind_at(named) == FileKind::kLink ? parent : parent.lexically_normal();
}

constexpr const char* kSpace = "\u2581";  // as pieces have it

std::string with_spaces(std::string_view text) {
  std::string plain;
  size_t begin = 0;
  for (size_t at; (at = text.find(kSpace, begin)) != std::string_view::npos;) {
    plain += text.substr(begin, at - begin);
    plain += ' ';
    begin = at + std::string_view(kSpace).size();
  }
  return plain += text.substr(begin);
}

}  // namespace

path find_tokenizer(const path& weights_dir) {
  const std::vector<path> folders{parent_of(weights_dir) / "tokenizer", weights_dir};
  for (const path& folder : folders) {
    if (is_file_there(folder / kModelName)) return folder / kModelName;
  }
  for (const path& folder : folders) {
    for (const char* name : {"tokenizer.json", "qwen.tiktoken"}) {
      if (!is_file_there(folder / name)) continue;
      throw Error(concat((folder / name).string(),
                         ": is no SentencePiece model, and no tokenizer.model is beside it",
                         kOtherKind));
    }
  }
  throw Error(concat("no tokenizer: neither ", (folders[0] / kModelName).string(), " nor ",
                     (folders[1] / kModelName).string(),
                     " is there; name the model's with --tokenizer"));
}

Tokenizer::Tokenizer(const path& model) : path_(model) {
  if (is_other_kind(model)) {
    throw Error(
        concat(model.string(), ": is no SentencePiece model (tokenizer.model)", kOtherKind));
  }
  processor_ = open_sentencepiece(model);
  settings_ = read_tokenizer_settings(model.parent_path());
  add_tokens();
  const bool knows_spaces = processor_->PieceToId(kSpace) != processor_->unk_id();
  bounded_ = knows_spaces && !rewrites_characters(*processor_) && added_.keep_bounds();
  if (settings_.legacy) return;
  processor_ = without_dummy_prefix(*processor_);
  unknown_pieces_ = pieces_of(unknown_).size();
}

Tokenizer::~Tokenizer() = default;

std::optional<AddedToken> Tokenizer::token_with_role(std::string_view role) const {
  const auto stated = settings_.roles.find(role);
  if (stated != settings_.roles.end()) return stated->second;
  const int piece = role == "bos_token"   ? processor_->bos_id()
                    : role == "eos_token" ? processor_->eos_id()
                    : role == "unk_token" ? processor_->unk_id()
                                          : -1;
  if (piece < 0) return std::nullopt;
  return AddedToken{.content = processor_->IdToPiece(piece)};
}

std::optional<int32_t> Tokenizer::piece_of(const std::string& content) const {
  const int piece = processor_->PieceToId(content);
  return processor_->IdToPiece(piece) == content ? std::optional(piece) : std::nullopt;
}

int32_t Tokenizer::id_of(const std::string& content, const IdsByContent& ids) const {
  if (const auto known = ids.find(content); known != ids.end()) return known->second;
  if (const std::optional<int32_t> piece = piece_of(content)) return *piece;
  const auto beyond = std::count_if(ids.begin(), ids.end(),
                                    [&](const auto& token) { return !piece_of(token.first); });
  return processor_->GetPieceSize() + static_cast<int32_t>(beyond);
}

void Tokenizer::add_tokens() {
  std::vector<AddedToken> tokens = settings_.added;
  IdsByContent ids;
  for (const AddedToken& token : tokens) ids[token.content] = token.id;
  const auto add = [&](AddedToken token) {
    token.id = id_of(token.content, ids);
    token.is_special = true;
    std::erase_if(tokens, [&](const AddedToken& other) { return other.id == token.id; });
    tokens.push_back(token);
    ids[token.content] = token.id;
    return token.id;
  };
  for (const std::string_view role : kTokenRoles) {
    const std::optional<AddedToken> token = token_with_role(role);
    if (!token) continue;
    const int32_t id = add(*token);
    if (role == "bos_token" && settings_.adds_bos) begin_ = id;
    if (role == "eos_token") eos_ = id;
    if (role == "eos_token" && settings_.adds_eos) end_ = id;
    if (role == "unk_token") unknown_ = token->content;
  }
  for (const AddedToken& token : settings_.more_special) add(token);
  for (const auto& [content, id] : ids) {
    const std::optional<int32_t> piece = piece_of(content);
    if (piece && *piece != id) renumbered_[*piece] = id;
  }
  for (const AddedToken& token : tokens) {
    tokens_[token.id] = token.content;
    has_part_[token.content] = has_part_[token.content] || token.is_special;
  }
  if (!settings_.cuts_added_tokens) added_ = AddedTokens(std::move(tokens));
}

std::vector<int> Tokenizer::pieces_of(std::string_view text) const {
  std::vector<int> pieces;
  const auto status = processor_->Encode({text.data(), text.size()}, &pieces);
  if (!status.ok()) {
    throw Error(concat(path_.string(), ": cannot cut a text of ", text.size(),
                       " bytes: ", status.ToString()));
  }
  return pieces;
}

void Tokenizer::cut(std::string_view text, std::vector<int32_t>& ids) const {
  std::vector<int> pieces;
  if (!settings_.legacy && (text.starts_with(kSpace) || text.starts_with(' '))) {
    // The model drops the spaces that a text begins with; behind another token they stay.
    pieces = pieces_of(concat(unknown_, text));
    if (pieces.size() >= unknown_pieces_)
      pieces.erase(pieces.begin(), pieces.begin() + static_cast<int64_t>(unknown_pieces_));
  } else {
    pieces = pieces_of(text);
  }
  for (const int piece : pieces) {
    const auto other = renumbered_.empty() ? renumbered_.end() : renumbered_.find(piece);
    ids.push_back(other == renumbered_.end() ? piece : other->second);
  }
}

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::string plain;
  const bool puts_space = !settings_.legacy && !text.empty();
  if (puts_space) {
    plain = (settings_.adds_prefix_space ? kSpace : "") + with_spaces(text);
    text = plain;
  }
  std::vector<int32_t> ids;
  if (begin_) ids.push_back(*begin_);
  const size_t first = ids.size();
  bool second_is_special = false;
  for (const AddedTokens::Part& part : added_.split(text)) {
    if (part.token == nullptr) {
      cut(part.text, ids);
    } else {
      second_is_special = second_is_special || (ids.size() == first + 1 && part.token->is_special);
      ids.push_back(part.token->id);
    }
  }
  if (puts_space && second_is_special && ids[first] == processor_->PieceToId(kSpace))
    ids.erase(ids.begin() + static_cast<int64_t>(first));
  if (end_) ids.push_back(*end_);
  return ids;
}

uint64_t Tokenizer::most_tokens(uint64_t text_bytes) const {
  // A piece covers a byte of the text or more, save BOS, EOS and the space put before the text.
  const uint64_t around = 1 + (begin_ ? 1 : 0) + (end_ ? 1 : 0);
  return bounded_ ? text_bytes + around : std::numeric_limits<uint64_t>::max();
}

std::optional<std::string> Tokenizer::token_of(int32_t id) const {
  if (const auto added = tokens_.find(id); added != tokens_.end()) return added->second;
  if (id < 0 || id >= processor_->GetPieceSize()) return std::nullopt;
  return processor_->IdToPiece(id);
}

std::string Tokenizer::joined(std::vector<std::string> pieces) const {
  if (settings_.adds_prefix_space && !pieces.empty() && pieces.front().starts_with(kSpace))
    pieces.front().erase(0, std::string_view(kSpace).size());
  std::string text;
  const auto status = processor_->Decode(pieces, &text);
  if (!status.ok()) {
    throw Error(concat(path_.string(), ": cannot make a text of ", pieces.size(),
                       " tokens: ", status.ToString()));
  }
  return text;
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::vector<std::string> parts;  // between blanks: added tokens, and what lies between them
  std::vector<std::string> pieces;
  const auto end_pieces = [&](bool is_last) {
    std::string part = joined(std::exchange(pieces, {}));
    if (!part.empty() || is_last) parts.push_back(std::move(part));
  };
  for (const int32_t id : ids) {
    std::optional<std::string> token = token_of(id);
    if (!token) continue;
    const auto added = has_part_.find(*token);
    if (added == has_part_.end()) {
      pieces.push_back(std::move(*token));
    } else if (!added->second) {
      if (!pieces.empty()) end_pieces(false);
      parts.push_back(std::move(*token));
    }
  }
  if (!pieces.empty()) end_pieces(true);
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i) text += (i > 0 ? " " : "") + parts[i];
  return text;
}

std::string Tokenizer::piece(int32_t id) const { return token_of(id).value_or(std::string()); }

}  // namespace kvcalib
