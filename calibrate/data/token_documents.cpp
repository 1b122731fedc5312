// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/token_documents.h"

#include <utility>

#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"

namespace kvcalib {
namespace {

using std::filesystem::path;

constexpr const char* kOffsets = ".offsets";

// The offsets of one file, checked to divide `ids` ids into documents.
std::vector<int64_t> read_offsets(const NpyReader& ids) {
  const NpyReader reader(offsets_of(ids.name()));
  if (reader.dimensions() != 1 || reader.columns() < 2) {
    throw Error(concat(reader.name(), ": has the shape (", reader.rows(), ", ", reader.columns(),
                       "); expected one dimension: where each document's first id is in ",
                       ids.name(), ", and the end"));
  }
  std::vector<int64_t> offsets = reader.read(0, reader.columns());
  if (offsets.front() != 0)
    throw Error(concat(reader.name(), ": begins with ", offsets.front(), ", expected 0"));
  for (size_t i = 1; i < offsets.size(); ++i) {
    if (offsets[i] >= offsets[i - 1]) continue;
    throw Error(concat(reader.name(), ": position ", i, " holds ", offsets[i], " behind ",
                       offsets[i - 1], "; expected offsets in ascending order"));
  }
  if (offsets.back() != ids.columns()) {
    throw Error(concat(reader.name(), ": ends at ", offsets.back(), ", but ", ids.name(), " holds ",
                       ids.columns(), " ids; write both again with scripts/tokenize_text.py"));
  }
  return offsets;
}

}  // namespace

path offsets_of(const path& ids) {
  return ids.parent_path() / concat(ids.stem().string(), kOffsets, ids.extension().string());
}

bool are_offsets(const path& file) {
  return file.extension() == ".npy" && file.stem().extension() == kOffsets &&
         kind_behind(file.parent_path() / file.stem().replace_extension(".npy")) == FileKind::kFile;
}

TokenDocuments::TokenDocuments(TokenFiles files) : files_(std::move(files)), starts_{0} {
  for (const NpyReader& reader : files_.readers()) {
    const int64_t base = starts_.back();
    const std::vector<int64_t> offsets = read_offsets(reader);
    for (size_t i = 1; i < offsets.size(); ++i) starts_.push_back(base + offsets[i]);
  }
}

uint64_t TokenDocuments::size(int64_t document) const {
  return static_cast<uint64_t>(starts_[document + 1] - starts_[document]);
}

void TokenDocuments::take(int64_t document, int64_t first, int64_t count, int64_t vocab,
                          std::vector<int32_t>& ids) {
  files_.take(starts_[document] + first, count, vocab, ids);
}

}  // namespace kvcalib
