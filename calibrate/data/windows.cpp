// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/windows.h"

#include <algorithm>
#include <list>

#include "calibrate/data/corpus.h"
#include "calibrate/data/document_windows.h"
#include "calibrate/data/npy_file.h"
#include "calibrate/data/python_random.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

using std::filesystem::path;

// 16 GiB of ids: far more than a calibration can use.
constexpr int64_t kMostTokens = int64_t{1} << 32;

void check(const WindowRequest& request) {
  if (request.samples < 1)
    throw Error(concat("--samples ", request.samples, ": expected 1 or more"));
  if (request.length < 1) throw Error(concat("--length ", request.length, ": expected 1 or more"));
  if (request.samples > kMostTokens / request.length) {
    throw Error(concat("--samples ", request.samples, " of --length ", request.length,
                       " are more than ", kMostTokens, " tokens; use fewer"));
  }
}

// Several .npy files as one array: [rows, columns], or a stream of tokens.
class TokenFiles {
 public:
  explicit TokenFiles(const std::vector<path>& files) {
    for (const path& file : files) {
      const NpyReader& reader = readers_.emplace_back(file);
      tokens_ += reader.rows() * reader.columns();
      if (reader.dimensions() == readers_.front().dimensions()) continue;
      throw Error(concat(file.string(), ": has ", reader.dimensions(), " dimensions, ",
                         readers_.front().name(), " ", readers_.front().dimensions(),
                         "; give windows or streams, not both"));
    }
  }

  bool is_stream() const { return readers_.front().dimensions() == 1; }
  int64_t tokens() const { return tokens_; }
  int64_t rows() const {
    int64_t rows = 0;
    for (const NpyReader& reader : readers_) rows += reader.rows();
    return rows;
  }
  const std::list<NpyReader>& readers() const { return readers_; }

  // Appends `count` ids from the one at `first` on, files joined end to end.
  void take(int64_t first, int64_t count, int64_t vocab, std::vector<int32_t>& ids) const {
    for (const NpyReader& reader : readers_) {
      const int64_t held = reader.rows() * reader.columns();
      const int64_t here = std::clamp<int64_t>(held - first, 0, count);
      if (here > 0) append(reader, first, here, vocab, ids);
      count -= here;
      first = std::max<int64_t>(first + here - held, 0);
    }
  }

 private:
  static void append(const NpyReader& reader, int64_t first, int64_t count, int64_t vocab,
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

  std::list<NpyReader> readers_;  // a reader stays where it was made
  int64_t tokens_ = 0;
};

std::vector<int32_t> take_rows(const TokenFiles& files, const WindowRequest& request,
                               int64_t vocab) {
  for (const NpyReader& reader : files.readers()) {
    if (reader.columns() == request.length) continue;
    throw Error(concat(reader.name(), ": its windows have ", reader.columns(),
                       " tokens, but --length is ", request.length, "; use --length ",
                       reader.columns()));
  }
  if (files.rows() < request.samples) {
    throw Error(concat(files.readers().front().name(),
                       files.readers().size() > 1 ? " and others" : "", ": ", files.rows(),
                       " windows, but --samples is ", request.samples, "; use --samples ",
                       files.rows(), " or more data"));
  }
  std::vector<int32_t> ids;
  for (int64_t row = 0; row < request.samples; ++row) {
    files.take(row * request.length, request.length, vocab, ids);
  }
  return ids;
}

std::vector<int32_t> draw_from_stream(const TokenFiles& files, const WindowRequest& request,
                                      int64_t vocab) {
  if (files.tokens() < request.length) {
    throw Error(concat(files.readers().front().name(),
                       files.readers().size() > 1 ? " and others" : "", ": a stream of ",
                       files.tokens(), " tokens, but --length is ", request.length,
                       "; use a shorter --length or more data"));
  }
  PythonRandom random(request.seed);
  std::vector<int32_t> ids;
  for (int64_t sample = 0; sample < request.samples; ++sample) {
    const int64_t start = random.between(0, files.tokens() - request.length);
    files.take(start, request.length, vocab, ids);
  }
  return ids;
}

TokenWindows windows_of_ids(const std::vector<path>& paths, const WindowRequest& request,
                            int64_t vocab) {
  if (request.pack) {
    throw Error(concat("--pack joins documents, but ", paths.front().string(),
                       " holds token ids; leave --pack out"));
  }
  const TokenFiles files(paths);
  TokenWindows windows{request.samples, request.length, {}, {}, 0};
  windows.documents = files.is_stream() ? 1 : files.rows();
  windows.ids = files.is_stream() ? draw_from_stream(files, request, vocab)
                                  : take_rows(files, request, vocab);
  for (const path& file : paths) windows.files.push_back(hash_file(file));
  return windows;
}

TokenWindows windows_of_text(const std::vector<path>& paths, const path& tokenizer_model,
                             const WindowRequest& request, int64_t vocab) {
  if (tokenizer_model.empty()) {
    throw Error(concat(paths.front().string(),
                       ": is text, which needs a tokenizer; name the model's "
                       "with --tokenizer"));
  }
  const Tokenizer tokenizer(tokenizer_model);
  Corpus corpus(paths, tokenizer);
  TokenWindows windows{request.samples, request.length, {}, {}, corpus.documents()};
  for (const DocumentFile& file : corpus.files()) windows.files.push_back(file.file());
  windows.ids = request.pack ? pack_documents(corpus, request, vocab)
                             : draw_long_documents(corpus, request, vocab);
  return windows;
}

}  // namespace

std::optional<WindowShape> stored_windows(const std::vector<path>& files) {
  if (files.empty() || needs_tokenizer(files)) return std::nullopt;
  const TokenFiles ids(files);
  if (ids.is_stream()) return std::nullopt;
  return WindowShape{ids.rows(), ids.readers().front().columns()};
}

TokenWindows draw_windows(const std::vector<path>& files, const path& tokenizer_model,
                          const WindowRequest& request, int64_t vocab) {
  check(request);
  if (files.empty()) throw Error("--data: no files are named");
  if (!needs_tokenizer(files)) return windows_of_ids(files, request, vocab);
  const auto ids = std::find_if(files.begin(), files.end(), [](const path& file) {
    return form_of(file) == DataForm::kTokenIds;
  });
  if (ids != files.end()) {
    throw Error(concat("--data: ", ids->string(),
                       " holds token ids, other files text; give one or the other"));
  }
  return windows_of_text(files, tokenizer_model, request, vocab);
}

}  // namespace kvcalib
