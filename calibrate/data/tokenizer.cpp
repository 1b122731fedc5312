// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <limits>

#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/json_object.h"
#include "sharding/files/metadata_file.h"

namespace kvcalib {
namespace {

using std::filesystem::path;

constexpr const char* kModelName = "tokenizer.model";
constexpr const char* kOtherKind =
    "; write the token ids with scripts/tokenize_text.py and give them as --data IDS.npy";

bool is_file(const path& file) { return kind_behind(file) == FileKind::kFile; }

bool is_other_kind(const path& file) {
  return file.extension() == ".json" || file.extension() == ".tiktoken";
}

// WEIGHTS/.. as the system resolves it, spelt as plainly as possible.
path parent_of(const path& weights_dir) {
  const path parent = weights_dir / "..";
  const path named = weights_dir.has_filename() ? weights_dir : weights_dir.parent_path();
  return kind_at(named) == FileKind::kLink ? parent : parent.lexically_normal();
}

// Walks the fields of a protocol buffer message (wire format of protobuf.dev): the library hands
// its ModelProto out, but its package installs no header that says what is in it.
class Fields {
 public:
  explicit Fields(std::string_view message) : rest_(message) {}

  // Moves to the next field; false at the end and at anything malformed.
  bool next() {
    uint64_t tag = 0;
    if (rest_.empty() || !varint(tag)) return false;
    number_ = tag >> 3;
    uint64_t bytes = 0;
    switch (tag & 7) {
      case 0:
        return varint(bytes);
      case 1:
        return take(8);
      case 2:
        return varint(bytes) && take(bytes);
      case 5:
        return take(4);
      default:
        return false;
    }
  }
  uint64_t number() const { return number_; }
  std::string_view bytes() const { return bytes_; }

 private:
  bool varint(uint64_t& value) {
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return true;
    }
    return false;
  }
  bool take(uint64_t count) {
    if (count > rest_.size()) return false;
    bytes_ = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return true;
  }

  std::string_view rest_;
  std::string_view bytes_;
  uint64_t number_ = 0;
};

// Whether texts go through character rules before they are cut: ModelProto.normalizer_spec (3),
// NormalizerSpec.precompiled_charsmap (2) in sentencepiece_model.proto.
bool rewrites_characters(std::string_view model) {
  for (Fields fields(model); fields.next();) {
    if (fields.number() != 3) continue;
    for (Fields spec(fields.bytes()); spec.next();) {
      if (spec.number() == 2 && !spec.bytes().empty()) return true;
    }
  }
  return false;
}

bool configured_to_add_bos(const path& config) {
  if (!is_file(config)) return true;
  return JsonObject::read(config).flag("add_bos_token", true);
}

}  // namespace

path find_tokenizer(const path& weights_dir) {
  const std::vector<path> folders{parent_of(weights_dir) / "tokenizer", weights_dir};
  for (const path& folder : folders) {
    if (is_file(folder / kModelName)) return folder / kModelName;
  }
  for (const path& folder : folders) {
    for (const char* name : {"tokenizer.json", "qwen.tiktoken"}) {
      if (!is_file(folder / name)) continue;
      throw Error(concat((folder / name).string(),
                         ": is no SentencePiece model, and no tokenizer.model is beside it",
                         kOtherKind));
    }
  }
  throw Error(concat("no tokenizer: neither ", (folders[0] / kModelName).string(), " nor ",
                     (folders[1] / kModelName).string(),
                     " is there; name the model's with --tokenizer"));
}

Tokenizer::Tokenizer(const path& model)
    : path_(model), processor_(std::make_unique<sentencepiece::SentencePieceProcessor>()) {
  if (is_other_kind(model)) {
    throw Error(
        concat(model.string(), ": is no SentencePiece model (tokenizer.model)", kOtherKind));
  }
  const std::string bytes = read_metadata_file(model);
  const auto status = processor_->LoadFromSerializedProto(bytes);
  if (!status.ok() || processor_->GetPieceSize() == 0) {
    throw Error(concat(model.string(), ": is not a SentencePiece model (", status.ToString(),
                       "); name the model's tokenizer.model with --tokenizer"));
  }
  adds_bos_ = processor_->bos_id() >= 0 &&
              configured_to_add_bos(model.parent_path() / "tokenizer_config.json");
  const bool knows_spaces = processor_->PieceToId("\u2581") != processor_->unk_id();
  bounded_ = knows_spaces && !rewrites_characters(bytes);
}

Tokenizer::~Tokenizer() = default;

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int> pieces;
  const auto status = processor_->Encode({text.data(), text.size()}, &pieces);
  if (!status.ok()) {
    throw Error(concat(path_.string(), ": cannot cut a text of ", text.size(),
                       " bytes: ", status.ToString()));
  }
  std::vector<int32_t> ids;
  ids.reserve(pieces.size() + 1);
  if (adds_bos_) ids.push_back(processor_->bos_id());
  ids.insert(ids.end(), pieces.begin(), pieces.end());
  return ids;
}

uint64_t Tokenizer::most_tokens(uint64_t text_bytes) const {
  // A piece covers a byte of the text or more, save BOS and the space put before the text.
  return bounded_ ? text_bytes + 2 : std::numeric_limits<uint64_t>::max();
}

std::string Tokenizer::piece(int32_t id) const { return processor_->IdToPiece(id); }

}  // namespace kvcalib
