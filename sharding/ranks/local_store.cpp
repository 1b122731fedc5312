// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/local_store.h"

#include <sys/stat.h>

#include <cstdint>

namespace kvcalib {
namespace {

// A file as it is now, in memory.
class Mapping {
 public:
  explicit Mapping(int file) {
    struct stat status {};
    if (fstat(file, &status) != 0 || status.st_size == 0) return;
    bytes_ = static_cast<size_t>(status.st_size);
    memory_ = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file, 0);
  }
  ~Mapping() {
    if (memory_ != MAP_FAILED) munmap(memory_, bytes_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::string_view text() const {
    if (memory_ == MAP_FAILED) return {};
    return {static_cast<const char*>(memory_), bytes_};
  }

 private:
  void* memory_ = MAP_FAILED;
  size_t bytes_ = 0;
};

std::string bytes_of(uint32_t length) {
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes;
}

}  // namespace

bool LocalStore::is_empty() const { return Mapping(file_).text().empty(); }

std::optional<std::string> LocalStore::value_of(std::string_view key) const {
  const Mapping mapping(file_);
  const std::string_view text = mapping.text();
  const std::string entry = concat(bytes_of(static_cast<uint32_t>(key.size() + 1)), "/", key);
  const size_t found = text.find(entry);
  if (found == std::string_view::npos) return std::nullopt;
  const std::string_view rest = text.substr(found + entry.size());
  uint32_t length = 0;
  if (rest.size() < sizeof(length)) return std::nullopt;
  std::memcpy(&length, rest.data(), sizeof(length));
  if (rest.size() - sizeof(length) < length) return std::nullopt;
  return std::string(rest.substr(sizeof(length), length));
}

}  // namespace kvcalib
