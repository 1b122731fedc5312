// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "sharding/files/byte_sink.h"
#include "sharding/files/safetensors_header.h"

namespace kvcalib {

// A safetensors file written from front to end: its header at once, then the tensors in order of
// their names, each in as many pieces as it comes in.  Equal content gives equal bytes.
class SafetensorsWriter {
 public:
  // `header` names types, shapes and metadata; where the tensors lie is found here.  `sink`
  // outlives the writer.  Throws Error for a type or shape that no tensor can have.
  SafetensorsWriter(ByteSink& sink, SafetensorsHeader header);

  // The next piece of `tensor`.  Throws Error when a tensor before it is not complete, or when this
  // one has more bytes than its shape needs.
  void append(std::string_view tensor, std::span<const std::byte> piece);
  void append(std::string_view tensor, std::string_view piece) {
    append(tensor, std::as_bytes(std::span(piece)));
  }
  // To be called behind the last piece.  Throws Error when a tensor is not complete.
  void finish();

 private:
  using Tensors = std::map<std::string, SafetensorsHeader::Tensor>;

  // Goes on to the first tensor that is not complete, or to `tensor`.
  void go_to(Tensors::const_iterator tensor);

  ByteSink& sink_;
  const SafetensorsHeader header_;
  Tensors::const_iterator current_;
  uint64_t written_ = 0;  // of the data
};

}  // namespace kvcalib
