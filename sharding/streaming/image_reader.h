// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "sharding/formats/layer_plan.h"

namespace kvcalib {

// A run of bytes of one file and its place in the layer's image.
struct ImagePiece {
  const FileRange* range = nullptr;
  uint64_t image_offset = 0;
  uint64_t bytes = 0;
  bool may_be_zeros = false;  // biases may be
};

// Bytes [first, last) of a plan's image as pieces of at most `piece_bytes`, none across two files.
std::vector<ImagePiece> cut_image(const LayerPlan& plan, uint64_t first, uint64_t last,
                                  uint64_t piece_bytes);

// Whether none of the floats is NaN or infinite.
bool all_finite(std::span<const std::byte> floats, ElementType type);

// Where a worker puts a piece: returns memory of piece.bytes; `done` is called when it is filled.
struct PieceSink {
  std::function<std::span<std::byte>(int64_t worker, const ImagePiece& piece)> memory;
  std::function<void(int64_t worker, const ImagePiece& piece)> done;  // may be empty
  std::function<bool()> stopped;  // asked before every piece: nobody wants the rest; may be empty
};

// Reads the pieces with `workers` threads and looks for NaN and Inf on the way, while the bytes are
// in cache. Throws Error naming the file: not readable, shorter than it was, holding a value that
// is not finite, or one of the tensors that refuse_zeros refuses, biases aside.
void read_image(const std::vector<ImagePiece>& pieces, int64_t workers, const PieceSink& sink);

}  // namespace kvcalib
