// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string_view>

namespace kvcalib {

// Something that takes a file's bytes from front to end.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual void append(std::span<const std::byte> bytes) = 0;

  void append(std::string_view text) { append(std::as_bytes(std::span(text))); }

 protected:
  ByteSink() = default;
  ByteSink(const ByteSink&) = default;
  ByteSink& operator=(const ByteSink&) = default;
};

// A file's content: what is called with the place it goes to.
using FileContent = std::function<void(ByteSink&)>;

}  // namespace kvcalib
