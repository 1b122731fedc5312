// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/chunk.h"
#include "kernels/cuda_check.h"
#include "kernels/nonfinite16.h"

namespace kvcalib::kernels {
namespace {

constexpr int64_t kThreads = 256;
constexpr int64_t kMaximumBlocks = 4096;
constexpr int64_t kElements = kChunkElements<uint16_t>;

// A search whose chunks are aligned: `head` elements before the first chunk, the rest after the
// last.
struct Search {
  const uint16_t* bits;
  int64_t head, chunks, tail;
  uint16_t mask;
  int* found;
};

// Nonzero when either half of the word has every exponent bit set: then, and only then, adding the
// exponent's lowest bit carries into the cleared sign bit.
__device__ uint32_t nonfinite_halves(uint32_t word, uint32_t masks, uint32_t lowest_bits) {
  return ((word & masks) + lowest_bits) & 0x80008000u;
}

__global__ void __launch_bounds__(kThreads) search_chunks(const Search search) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  const uint32_t masks = search.mask * 0x00010001u;
  const uint32_t lowest_bits = (search.mask & (0x10000u - search.mask)) * 0x00010001u;
  const auto* const chunks = reinterpret_cast<const uint4*>(search.bits + search.head);
  uint32_t found = 0;
#pragma unroll 4
  for (int64_t i = first; i < search.chunks; i += step) {
    const uint4 words = __ldg(chunks + i);
    found |= nonfinite_halves(words.x, masks, lowest_bits) |
             nonfinite_halves(words.y, masks, lowest_bits) |
             nonfinite_halves(words.z, masks, lowest_bits) |
             nonfinite_halves(words.w, masks, lowest_bits);
  }
  const uint16_t* const tail = search.bits + search.head + search.chunks * kElements;
  if (first < search.head) found |= nonfinite_halves(search.bits[first], masks, lowest_bits);
  if (first < search.tail) found |= nonfinite_halves(tail[first], masks, lowest_bits);
  if (found != 0) atomicOr(search.found, 1);
}

}  // namespace

void nonfinite16(const Nonfinite16Arguments& arguments, cudaStream_t stream) {
  arguments.check();
  if (arguments.count == 0) return;
  const auto address = reinterpret_cast<uintptr_t>(arguments.bits);
  const int64_t misaligned = static_cast<int64_t>(address % kChunkBytes / sizeof(uint16_t));
  Search search{};
  search.bits = arguments.bits;
  search.head = std::min((kElements - misaligned) % kElements, arguments.count);
  search.chunks = (arguments.count - search.head) / kElements;
  search.tail = arguments.count - search.head - search.chunks * kElements;
  search.mask = arguments.exponent_mask;
  search.found = arguments.found;
  const int64_t blocks =
      std::clamp<int64_t>((search.chunks + kThreads - 1) / kThreads, 1, kMaximumBlocks);
  search_chunks<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(search);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace kvcalib::kernels
