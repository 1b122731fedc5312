// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/tokenizer_folder.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/json_reader.h"
#include "sharding/files/metadata_file.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

// What converters write for Qwen, whose tokenizer does not state them.
constexpr BoundaryIds kQwen{0, 151643};

bool belongs_to_tokenizer(const fs::path& file) {
  const std::string kind = file.extension().string();
  return file.filename() == "tokenizer.model" || kind == ".tiktoken" || kind == ".json" ||
         kind == ".py";
}

std::vector<fs::path> plain_files(const fs::path& folder, bool (*wanted)(const fs::path&)) {
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && wanted(entry.path())) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// An id, or the first of several, as newer models list those that end a text.
std::optional<int64_t> stated_id(const nlohmann::json& config, const char* key) {
  nlohmann::json value = config.value(key, nlohmann::json());
  if (value.is_array() && !value.empty()) value = nlohmann::json(value.front());
  return value.is_number_integer() ? std::optional(value.get<int64_t>()) : std::nullopt;
}

}  // namespace

std::vector<fs::path> tokenizer_files_of_model(const fs::path& model) {
  return plain_files(model, belongs_to_tokenizer);
}

std::vector<fs::path> tokenizer_files_of_weights(const fs::path& weights) {
  const fs::path beside = weights / ".." / "tokenizer";
  if (kind_behind(beside) == FileKind::kDirectory)
    return plain_files(beside, [](const fs::path&) { return true; });
  return plain_files(weights, belongs_to_tokenizer);
}

BoundaryIds boundary_ids(const fs::path& model) {
  if (const fs::path file = model / "tokenizer.model"; kind_behind(file) == FileKind::kFile) {
    sentencepiece::SentencePieceProcessor processor;
    const auto status = processor.LoadFromSerializedProto(read_metadata_file(file));
    if (!status.ok())
      throw Error(
          concat(file.string(), ": is not a SentencePiece model (", status.ToString(), ")"));
    return {processor.bos_id(), processor.eos_id()};
  }
  const fs::path file = model / "config.json";
  const nlohmann::json config = read_json(file);
  if (!config.is_object()) throw Error(concat(file.string(), ": is not a JSON object"));
  if (config.value("model_type", nlohmann::json()) == "qwen") return kQwen;
  const std::optional<int64_t> start = stated_id(config, "bos_token_id");
  const std::optional<int64_t> end = stated_id(config, "eos_token_id");
  if (!start || !end)
    throw Error(concat(file.string(), ": states no bos_token_id and eos_token_id, and no ",
                       "tokenizer.model is beside it; add them"));
  return {*start, *end};
}

}  // namespace kvcalib
