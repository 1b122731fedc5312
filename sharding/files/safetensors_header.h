// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvcalib {

// What a safetensors file begins with (https://github.com/huggingface/safetensors, "Format"): eight
// bytes of length, that much JSON; the tensors' data follows.
struct SafetensorsHeader {
  // A tensor's type, shape and place in the data.
  struct Tensor {
    std::string dtype;  // "F32", "BF16", ..., or one that is not known here
    std::vector<int64_t> shape;
    uint64_t begin = 0, end = 0;  // bytes, from the first of the data on
  };

  static constexpr uint64_t kLengthBytes = 8;

  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;

  // The length that a file of `file_bytes` bytes states in its first ones (kLengthBytes, or fewer
  // where the file is shorter).  Throws Error when the file ends before, or where the format allows
  // no header that long.
  static uint64_t length(std::string_view first_bytes, uint64_t file_bytes,
                         const std::string& origin);
  // Throws Error naming file and tensor when the JSON is not what the format demands, when a
  // tensor's range is not inside the data or, its type being known, not its shape's size, or when
  // the ranges overlap or leave bytes unclaimed.
  static SafetensorsHeader parse(std::string_view text, uint64_t data_bytes,
                                 const std::string& origin);
  // As a file begins with it; the JSON is padded with spaces to a multiple of 8.
  std::string to_bytes() const;
};

// "[2, 3]", as messages name a shape.
std::string shape_text(std::span<const int64_t> shape);

// The bytes that a tensor must have; `what` begins the message of the Error for a dtype or shape
// that no tensor can have.
uint64_t tensor_bytes(const std::string& what, std::string_view dtype,
                      std::span<const int64_t> shape);

}  // namespace kvcalib
