// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <zlib.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tests/message_of.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib::fixture {

// Where ctest runs the tests.
inline std::filesystem::path repository() { return std::filesystem::current_path(); }

// The folder of large test data; may be absent.
inline std::filesystem::path shared() {
  const char* named = std::getenv("KVCALIB_SHARED");
  return named != nullptr ? std::filesystem::path(named) : repository().parent_path() / "shared";
}

// SentencePiece BPE of 2048 pieces, identity normalisation.
inline std::filesystem::path tiny_tokenizer() {
  return repository() / "configs/tiny-4m/tokenizer/tokenizer.model";
}

inline std::filesystem::path write(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

// One gzip member.
inline std::string gzip(std::string_view bytes, int level = 6) {
  z_stream stream{};
  deflateInit2(&stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string member(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<unsigned char*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<unsigned char*>(member.data());
  stream.avail_out = static_cast<uInt>(member.size());
  deflate(&stream, Z_FINISH);
  member.resize(stream.total_out);
  deflateEnd(&stream);
  return member;
}

// Text of `bytes` bytes that deflate can pack about as well as prose: words of a changing
// vocabulary.
inline std::string prose(uint64_t seed, size_t bytes) {
  uint64_t state = seed * 2 + 1;
  const auto next = [&] {
    return (state = state * 6364136223846793005ULL + 1442695040888963407ULL) >> 33;
  };
  std::string text;
  while (text.size() < bytes) {
    for (uint64_t letters = 2 + next() % 7; letters > 0; --letters) {
      text += static_cast<char>('a' + std::min(next() % 26, next() % 26));
    }
    text += next() % 11 == 0 ? ". " : " ";
  }
  text.resize(bytes);
  return text;
}

inline std::string json_line(const std::string& text) {
  return nlohmann::json{{"text", text}, {"url", "https://example.org/\u00e9"}}.dump() + "\n";
}

// The bytes of a .npy file, format `version`.
inline std::string npy(std::string_view type, const std::string& shape, std::string_view data,
                       char version = 1, const std::string& order = "False") {
  std::string header = "{'descr': '" + std::string(type) + "', 'fortran_order': " + order +
                       ", 'shape': (" + shape + "), }";
  const size_t fixed = version == 1 ? 10 : 12;
  header.append(63 - (fixed + header.size()) % 64, ' ');
  header += '\n';
  std::string bytes = std::string("\x93NUMPY") + version + '\0';
  for (size_t i = 0; i < fixed - 8; ++i) bytes += static_cast<char>(header.size() >> (8 * i));
  return bytes + header + std::string(data);
}

template <typename Id>
std::string npy_ids(const std::string& shape, const std::vector<Id>& ids, char version = 1) {
  const std::string_view data(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(Id));
  return npy(sizeof(Id) == 4 ? "<i4" : "<i8", shape, data, version);
}

}  // namespace kvcalib::fixture
