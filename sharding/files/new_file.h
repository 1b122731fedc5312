// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

#include "sharding/files/byte_sink.h"

namespace kvcalib {

// A large file that did not exist, written from front to end.
class NewFile final : public ByteSink {
 public:
  // Throws Error naming the path and the system's reason, as do the others.
  explicit NewFile(const std::filesystem::path& path);
  ~NewFile() override;
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  using ByteSink::append;
  void append(std::span<const std::byte> bytes) override;
  // Everything is on the disk when this returns.
  void finish();

 private:
  std::filesystem::path path_;
  int descriptor_;
};

}  // namespace kvcalib
