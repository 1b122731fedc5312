// SPDX-License-Identifier: Apache-2.0
#include "sharding/streaming/image_reader.h"

#include <algorithm>
#include <cstring>

#include "kernels/nonfinite16.h"
#include "sharding/files/error.h"
#include "sharding/files/ranged_file.h"
#include "sharding/files/workers.h"
#include "sharding/streaming/zero_weights.h"

namespace kvcalib {
namespace {

// Read and looked at in turn: what a core's own cache holds.
constexpr uint64_t kCheckedBytes = uint64_t{256} << 10;

// Of every worker, that the system is asked to fetch while it reads one.
constexpr size_t kPiecesAhead = 2;

bool all_finite32(std::span<const std::byte> floats) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t found = 0;
  for (size_t i = 0; i + 4 <= floats.size(); i += 4) {
    uint32_t bits = 0;
    std::memcpy(&bits, floats.data() + i, 4);
    found |= (bits & kExponent) == kExponent ? 1U : 0U;
  }
  return found == 0;
}

uint64_t file_offset(const ImagePiece& piece) {
  return piece.range->offset + piece.image_offset - piece.range->image_offset;
}

void fetch_ahead(const ImagePiece& piece) {
  RangedFile(piece.range->file).will_read(file_offset(piece), piece.bytes);
}

// Whether the piece is the last of a tensor and begins to look as if it was cut off: only then is
// there something to look at again.
bool ends_in_zeros(const ImagePiece& piece, std::span<const std::byte> last_bytes) {
  constexpr size_t kFew = 64;
  const FileRange& range = *piece.range;
  if (piece.may_be_zeros || piece.image_offset + piece.bytes != range.image_offset + range.bytes)
    return false;
  const auto few = last_bytes.last(std::min(kFew, last_bytes.size()));
  return std::all_of(few.begin(), few.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

// Matrices and norms: biases may be zeros.
bool must_hold_values(LayerTensor tensor) {
  switch (tensor) {
    case LayerTensor::kAttentionNorm:
    case LayerTensor::kQkv:
    case LayerTensor::kOutput:
    case LayerTensor::kFfnNorm:
    case LayerTensor::kGateUp:
    case LayerTensor::kDown:
    case LayerTensor::kQueryNorm:
    case LayerTensor::kKeyNorm:
      return true;
    default:
      return false;
  }
}

bool may_hold_zeros(const LayerPlan& plan, const FileRange& range) {
  return std::none_of(plan.blocks.begin(), plan.blocks.end(), [&](const TensorBlock& block) {
    return block.image_offset >= range.image_offset &&
           block.image_offset < range.image_offset + range.bytes && must_hold_values(block.tensor);
  });
}

void read_piece(const ImagePiece& piece, std::span<std::byte> out) {
  const RangedFile file(piece.range->file);
  const uint64_t offset = file_offset(piece);
  for (uint64_t done = 0; done < out.size(); done += kCheckedBytes) {
    const auto part = out.subspan(done, std::min<uint64_t>(kCheckedBytes, out.size() - done));
    file.read(offset + done, part);
    if (!all_finite(part, piece.range->type))
      throw Error(concat(piece.range->file.string(),
                         ": holds NaN or Inf; the weights are damaged, ",
                         "deploy the model again"));
    if (done + part.size() == out.size() && ends_in_zeros(piece, part)) refuse_zeros(*piece.range);
  }
}

}  // namespace

bool all_finite(std::span<const std::byte> floats, ElementType type) {
  if (type == ElementType::kFloat32) return all_finite32(floats);
  int found = 0;
  const auto count = static_cast<int64_t>(floats.size() / 2);
  kernels::cpu::nonfinite16(
      {.bits = reinterpret_cast<const uint16_t*>(floats.data()),
       .count = count,
       .exponent_mask =
           type == ElementType::kFloat16 ? kernels::kHalfExponent : kernels::kBfloat16Exponent,
       .found = &found},
      0, count);
  return found == 0;
}

std::vector<ImagePiece> cut_image(const LayerPlan& plan, uint64_t first, uint64_t last,
                                  uint64_t piece_bytes) {
  std::vector<ImagePiece> pieces;
  for (const FileRange& range : plan.ranges) {
    uint64_t begin = std::max(first, range.image_offset);
    const uint64_t end = std::min(last, range.image_offset + range.bytes);
    const bool may_be_zeros = begin < end && may_hold_zeros(plan, range);
    while (begin < end) {
      const uint64_t bytes = std::min(piece_bytes, end - begin);
      pieces.push_back({&range, begin, bytes, may_be_zeros});
      begin += bytes;
    }
  }
  return pieces;
}

void read_image(const std::vector<ImagePiece>& pieces, int64_t workers, const PieceSink& sink) {
  // A disk has something to do while the workers look at what has come.
  const size_t ahead = kPiecesAhead * static_cast<size_t>(workers);
  for (size_t i = 0; i < std::min(ahead, pieces.size()); ++i) fetch_ahead(pieces[i]);
  run_workers(pieces.size(), workers, [&](int64_t worker, size_t i) {
    if (sink.stopped && sink.stopped()) return false;
    if (i + ahead < pieces.size()) fetch_ahead(pieces[i + ahead]);
    read_piece(pieces[i], sink.memory(worker, pieces[i]));
    if (sink.done) sink.done(worker, pieces[i]);
    return true;
  });
}

}  // namespace kvcalib
