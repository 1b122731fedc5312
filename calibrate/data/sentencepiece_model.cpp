// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <vector>

#include "calibrate/data/character_rules.h"
#include "calibrate/data/protobuf_fields.h"
#include "sharding/files/error.h"
#include "sharding/files/metadata_file.h"

namespace kvcalib {
namespace {

// The numbers of fields in sentencepiece_model.proto.
constexpr uint64_t kNormalizerSpec = 3, kDenormalizerSpec = 5;  // of ModelProto
constexpr uint64_t kPrecompiledCharsmap = 2;                    // of NormalizerSpec
// A NormalizerSpec behind others, which changes one of their fields: add_dummy_prefix (3) = false.
constexpr std::string_view kNoDummyPrefix("\x1a\x02\x18\x00", 4);

// The rules by which a model rewrites characters, those of one of its two specs.
std::vector<std::string_view> character_rules(std::string_view model, uint64_t number) {
  std::vector<std::string_view> found;
  for (ProtobufFields fields(model); fields.next();) {
    if (fields.number() != number) continue;
    for (ProtobufFields spec(fields.bytes()); spec.next();) {
      if (spec.number() == kPrecompiledCharsmap && !spec.bytes().empty())
        found.push_back(spec.bytes());
    }
  }
  return found;
}

// tiktoken's vocabularies are lines of a token in base64, a space and its number.
bool is_tiktoken(std::string_view bytes) {
  const std::string_view line = bytes.substr(0, bytes.find('\n'));
  const size_t space = line.find(' ');
  if (space == 0 || space == std::string_view::npos || space + 1 == line.size()) return false;
  constexpr std::string_view kDigits = "0123456789";
  constexpr std::string_view kBase64 =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
  const std::string_view number = line.substr(space + 1, line.find('\r') - space - 1);
  return line.substr(0, space).find_first_not_of(kBase64) == std::string_view::npos &&
         number.find_first_not_of(kDigits) == std::string_view::npos;
}

using Processor = sentencepiece::SentencePieceProcessor;

// Nothing where the model was loaded.
std::string failure_to_load(Processor& processor, std::string_view model) {
  try {
    const auto status = processor.LoadFromSerializedProto({model.data(), model.size()});
    if (!status.ok()) return status.ToString();
    return processor.GetPieceSize() == 0 ? "it has no pieces" : "";
  } catch (const std::exception& failure) {  // of its trie, for pieces that are no texts
    return failure.what();
  }
}

}  // namespace

bool is_tiktoken_vocabulary(const std::filesystem::path& file) {
  return is_tiktoken(read_metadata_file(file));
}

std::unique_ptr<Processor> open_sentencepiece(const std::filesystem::path& model) {
  const std::string bytes = read_metadata_file(model);
  if (is_tiktoken(bytes))
    throw Error(concat(model.string(), ": is a vocabulary of tiktoken (lines of base64), no ",
                       "SentencePiece model; write the token ids with scripts/tokenize_text.py ",
                       "and the model's tokenizer.json, and give them as --data IDS.npy"));
  for (const uint64_t spec : {kNormalizerSpec, kDenormalizerSpec}) {
    const std::vector<std::string_view> rules = character_rules(bytes, spec);
    if (!std::all_of(rules.begin(), rules.end(), are_character_rules))
      throw Error(concat(model.string(), ": its precompiled_charsmap, the rules by which ",
                         "characters are rewritten, is damaged; fetch the file again"));
  }
  auto processor = std::make_unique<Processor>();
  const std::string failure = failure_to_load(*processor, bytes);
  if (!failure.empty())
    throw Error(concat(model.string(), ": is not a SentencePiece model (", failure,
                       "); name the model's tokenizer.model with --tokenizer"));
  return processor;
}

std::unique_ptr<Processor> without_dummy_prefix(const Processor& processor) {
  auto changed = std::make_unique<Processor>();
  const std::string failure = failure_to_load(
      *changed, std::string(processor.serialized_model_proto()).append(kNoDummyPrefix));
  if (!failure.empty()) throw Error(concat("the SentencePiece model: ", failure));
  return changed;
}

bool rewrites_characters(const Processor& processor) {
  return !character_rules(processor.serialized_model_proto(), kNormalizerSpec).empty();
}

}  // namespace kvcalib
