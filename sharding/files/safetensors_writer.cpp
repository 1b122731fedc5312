// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/safetensors_writer.h"

#include <stdexcept>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

[[noreturn]] void fail_size(const std::string& name, uint64_t found,
                            const SafetensorsHeader::Tensor& tensor) {
  throw Error(concat("tensor '", name, "' has ", found, " bytes, its shape needs ",
                     tensor.end - tensor.begin));
}

// Gives the tensors their places: one after the other, in order of their names.
SafetensorsHeader placed(SafetensorsHeader header) {
  uint64_t offset = 0;
  for (auto& [name, tensor] : header.tensors) {
    tensor.begin = offset;
    tensor.end = offset += tensor_bytes(concat("tensor '", name, "'"), tensor.dtype, tensor.shape);
  }
  return header;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(ByteSink& sink, SafetensorsHeader header)
    : sink_(sink), header_(placed(std::move(header))), current_(header_.tensors.begin()) {
  sink_.append(header_.to_bytes());
}

void SafetensorsWriter::go_to(Tensors::const_iterator tensor) {
  for (; current_ != tensor; ++current_) {
    if (written_ != current_->second.end)
      fail_size(current_->first, written_ - current_->second.begin, current_->second);
  }
}

void SafetensorsWriter::append(std::string_view tensor, std::span<const std::byte> piece) {
  const auto found = header_.tensors.find(std::string(tensor));
  if (found == header_.tensors.end() || current_ == header_.tensors.end() ||
      found->first < current_->first)
    throw std::logic_error(concat("SafetensorsWriter: '", tensor, "' is not to come"));
  go_to(found);
  const uint64_t bytes = written_ - current_->second.begin + piece.size();
  if (bytes > current_->second.end - current_->second.begin)
    fail_size(current_->first, bytes, current_->second);
  sink_.append(piece);
  written_ += piece.size();
}

void SafetensorsWriter::finish() { go_to(header_.tensors.end()); }

}  // namespace kvcalib
