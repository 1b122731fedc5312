// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/token_files.h"

#include <algorithm>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

void append(const NpyReader& reader, int64_t first, int64_t count, int64_t vocab,
            std::vector<int32_t>& ids) {
  const std::vector<int64_t> values = reader.read(first, count);
  for (int64_t i = 0; i < count; ++i) {
    if (values[i] < 0 || values[i] >= vocab) {
      throw Error(concat(reader.name(), ": ", reader.position(first + i), " holds id ", values[i],
                         ", but the model's vocabulary has ", vocab,
                         "; were the ids made with the model's tokenizer?"));
    }
    ids.push_back(static_cast<int32_t>(values[i]));
  }
}

}  // namespace

TokenFiles::TokenFiles(const std::vector<std::filesystem::path>& files) {
  for (const std::filesystem::path& file : files) {
    const NpyReader& reader = readers_.emplace_back(file);
    tokens_ += reader.rows() * reader.columns();
    if (reader.dimensions() == readers_.front().dimensions()) continue;
    throw Error(concat(file.string(), ": has ", reader.dimensions(), " dimensions, ",
                       readers_.front().name(), " ", readers_.front().dimensions(),
                       "; give windows or streams, not both"));
  }
}

int64_t TokenFiles::rows() const {
  int64_t rows = 0;
  for (const NpyReader& reader : readers_) rows += reader.rows();
  return rows;
}

std::string TokenFiles::name() const {
  return concat(readers_.front().name(), readers_.size() > 1 ? " and others" : "");
}

void TokenFiles::take(int64_t first, int64_t count, int64_t vocab,
                      std::vector<int32_t>& ids) const {
  for (const NpyReader& reader : readers_) {
    const int64_t held = reader.rows() * reader.columns();
    const int64_t here = std::clamp<int64_t>(held - first, 0, count);
    if (here > 0) append(reader, first, here, vocab, ids);
    count -= here;
    first = std::max<int64_t>(first + here - held, 0);
  }
}

}  // namespace kvcalib
