// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/tokenizer_folder.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "calibrate/data/sentencepiece_model.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/json_reader.h"
#include "sharding/files/ranged_file.h"

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
    if (!wanted(entry.path()) || kind_behind(entry.path()) == FileKind::kDirectory) continue;
    if (is_file_there(entry.path())) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

// An id, or several, as newer models list those that end a text.
std::vector<int64_t> stated_ids(const nlohmann::json& config, const char* key) {
  std::vector<int64_t> ids;
  const nlohmann::json value = config.value(key, nlohmann::json());
  for (const nlohmann::json& id : value.is_array() ? value : nlohmann::json::array({value})) {
    if (id.is_number_integer()) ids.push_back(id.get<int64_t>());
  }
  return ids;
}

// What the model says goes before what its tokenizer says, which is that of the model that it was
// trained on from.  Where it lists several, the tokenizer's is as good as any.
int64_t choose(const std::vector<int64_t>& stated, int64_t piece) {
  if (stated.empty() || std::find(stated.begin(), stated.end(), piece) != stated.end())
    return piece;
  return stated.front();
}

BoundaryIds boundary_pieces(const fs::path& sentencepiece_model) {
  const auto processor = open_sentencepiece(sentencepiece_model);
  return {processor->bos_id(), processor->eos_id()};
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
  const fs::path config_file = model / "config.json";
  const nlohmann::json config = read_json(config_file);
  if (!config.is_object()) throw Error(concat(config_file.string(), ": is not a JSON object"));
  if (config.value("model_type", nlohmann::json()) == "qwen") return kQwen;
  const fs::path file = model / "tokenizer.model";
  const bool is_sentencepiece = is_file_there(file) && !is_tiktoken_vocabulary(file);
  const BoundaryIds pieces = is_sentencepiece ? boundary_pieces(file) : BoundaryIds{-1, -1};
  BoundaryIds ids{choose(stated_ids(config, "bos_token_id"), pieces.start),
                  choose(stated_ids(config, "eos_token_id"), pieces.end)};
  if (!is_sentencepiece && (ids.start < 0 || ids.end < 0))
    throw Error(concat(config_file.string(), ": states no bos_token_id and eos_token_id, and no ",
                       "SentencePiece tokenizer.model is beside it; add them"));
  for (const auto& [key, id, piece] : {std::tuple{"bos_token_id", ids.start, pieces.start},
                                       std::tuple{"eos_token_id", ids.end, pieces.end}}) {
    if (piece >= 0 && piece != id)
      ids.warnings.push_back(concat(config_file.string(), ": ", key, " is ", id,
                                    ", which is what is written; tokenizer.model has ", piece));
  }
  return ids;
}

}  // namespace kvcalib
