// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/windows.h"

#include <algorithm>
#include <utility>

#include "calibrate/data/document_windows.h"
#include "calibrate/data/python_random.h"
#include "calibrate/data/text_documents.h"
#include "calibrate/data/token_documents.h"
#include "calibrate/data/token_files.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"

namespace kvcalib {
namespace {

using std::filesystem::path;

std::vector<int32_t> take_rows(const TokenFiles& files, const WindowRequest& request,
                               int64_t vocab) {
  for (const NpyReader& reader : files.readers()) {
    if (reader.columns() == request.length) continue;
    throw Error(concat(reader.name(), ": its windows have ", reader.columns(),
                       " tokens, but --length is ", request.length, "; use --length ",
                       reader.columns()));
  }
  if (files.rows() < request.samples) {
    throw Error(concat(files.name(), ": ", files.rows(), " windows, but --samples is ",
                       request.samples, "; use --samples ", files.rows(), " or more data"));
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
    throw Error(concat(files.name(), ": a stream of ", files.tokens(), " tokens, but --length is ",
                       request.length, "; use a shorter --length or more data"));
  }
  PythonRandom random(request.seed);
  std::vector<int32_t> ids;
  for (int64_t sample = 0; sample < request.samples; ++sample) {
    const int64_t start = random.between(0, files.tokens() - request.length);
    files.take(start, request.length, vocab, ids);
  }
  return ids;
}

// Throws Error for something else than a file of that name.
bool has_offsets(const path& file) {
  const path offsets = offsets_of(file);
  if (kind_at(offsets) == FileKind::kNothing) return false;
  if (kind_behind(offsets) != FileKind::kFile)
    throw Error(concat(offsets.string(), ": is not a file; it says where the documents of ",
                       file.filename().string(), " begin: make both again, or take it away"));
  return true;
}

// Whether the files are streams with documents marked in them: all of them, or none.
bool hold_documents(const TokenFiles& files, const std::vector<path>& paths) {
  if (!files.is_stream()) return false;
  const auto lacking = std::find_if_not(paths.begin(), paths.end(), has_offsets);
  if (lacking != paths.end() && std::any_of(paths.begin(), paths.end(), has_offsets)) {
    throw Error(concat(lacking->string(), ": has no ", offsets_of(*lacking).filename().string(),
                       " beside it, as other files have; give documents or streams, not both"));
  }
  return lacking == paths.end();
}

std::vector<int32_t> draw_from(Documents& documents, const WindowRequest& request, int64_t vocab) {
  return request.pack ? pack_documents(documents, request, vocab)
                      : draw_long_documents(documents, request, vocab);
}

TokenWindows windows_of_documents(TokenFiles files, const std::vector<path>& paths,
                                  const WindowRequest& request, int64_t vocab) {
  TokenDocuments documents(std::move(files));
  TokenWindows windows{request.samples, request.length, {}, {}, documents.count()};
  windows.ids = draw_from(documents, request, vocab);
  for (const path& file : paths) {
    windows.files.push_back(hash_file(file));
    windows.files.push_back(hash_file(offsets_of(file)));
  }
  return windows;
}

TokenWindows windows_of_ids(const std::vector<path>& paths, const WindowRequest& request,
                            int64_t vocab) {
  TokenFiles files(paths);
  if (hold_documents(files, paths))
    return windows_of_documents(std::move(files), paths, request, vocab);
  if (request.pack) {
    throw Error(concat("--pack joins documents, but ", paths.front().string(),
                       " holds token ids; leave --pack out"));
  }
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
  TextDocuments documents(paths, tokenizer);
  TokenWindows windows{request.samples, request.length, {}, {}, documents.count()};
  windows.warnings = tokenizer.warnings();
  for (const DocumentFile& file : documents.files()) windows.files.push_back(file.file());
  windows.ids = draw_from(documents, request, vocab);
  return windows;
}

}  // namespace

void check_windows(const WindowRequest& request) {
  if (request.samples < 1)
    throw Error(concat("--samples ", request.samples, ": expected 1 or more"));
  if (request.length < 1) throw Error(concat("--length ", request.length, ": expected 1 or more"));
  if (request.samples > kMostTokens / request.length) {
    throw Error(concat("--samples ", request.samples, " of --length ", request.length,
                       " are more than ", kMostTokens, " tokens; use fewer"));
  }
}

std::optional<WindowShape> stored_windows(const std::vector<path>& files) {
  if (files.empty() || needs_tokenizer(files)) return std::nullopt;
  const TokenFiles ids(files);
  if (ids.is_stream()) return std::nullopt;
  return WindowShape{ids.rows(), ids.readers().front().columns()};
}

TokenWindows draw_windows(const std::vector<path>& files, const path& tokenizer_model,
                          const WindowRequest& request, int64_t vocab) {
  check_windows(request);
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
