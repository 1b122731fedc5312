// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cuda_pipeline.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cache_blocks.h"
#include "kernels/cuda_numeric.h"

namespace kvcalib::kernels {

inline constexpr int kTileKeys = static_cast<int>(kBlockTokens);
inline constexpr int kUnitBytes = 16;

inline constexpr int kDecodeThreads = 128;  // of a block

// How keys of one head lie in shared memory: in tiles of kTileKeys rows, a row in units of
// kUnitBytes, of which the last may be filled up.  Quotients are known to the host: they cost a
// thread as much as several keys.
struct TileLayout {
  int head_dim;
  int units;       // of a row
  int pitch;       // units between rows: odd, so that threads with a row each meet no bank twice
  int copy_bytes;  // of one asynchronous access: 16 or 8; 0: elements are copied one by one
  int copies;      // such accesses, or elements, of a row
  int row_step, copy_step;  // from a thread's access to its next
  int fours, splits;        // groups of four channels, and threads of a block that share one
  int stages;               // tiles that are held

  // element: bytes.  aligned: the caches are, to 16 bytes.
  TileLayout(int64_t width, int element, bool aligned) : head_dim(static_cast<int>(width)) {
    const int row = head_dim * element;
    units = (row + kUnitBytes - 1) / kUnitBytes;
    pitch = units | 1;
    copy_bytes = !aligned ? 0 : row % 16 == 0 ? 16 : 0;
    // What stands in half a unit of codes does not matter; of floats it could be NaN.
    if (aligned && copy_bytes == 0 && element == 1 && row % 8 == 0) copy_bytes = 8;
    copies = copy_bytes == 0 ? units * kUnitBytes / element : row / copy_bytes;
    row_step = kDecodeThreads / copies;
    copy_step = kDecodeThreads % copies;
    fours = (head_dim + 3) / 4;
    splits = kDecodeThreads / fours;
    constexpr int kWideTile = 24 << 10;  // three of them would leave room for one block
    stages = tile_bytes() > kWideTile ? 2 : 3;
  }

  __host__ __device__ int tile_bytes() const { return kTileKeys * pitch * kUnitBytes; }
};

// Four elements; of codes q of q + 128.
__device__ inline void widen_four(uint32_t codes, float (&values)[4]) {
  // A byte behind 0x4b0000 is the float 2^23 + byte.
  constexpr uint32_t kWhole = 0x4b000000u;
  constexpr float kBias = 8388608.0f + 128.0f;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    values[i] = __uint_as_float(__byte_perm(codes, kWhole, 0x7540 + i)) - kBias;
}

template <typename T>
__device__ inline void widen_four(uint2 raw, float (&values)[4]) {
  values[0] = to_float(T{static_cast<uint16_t>(raw.x & 0xffffu)});
  values[1] = to_float(T{static_cast<uint16_t>(raw.x >> 16)});
  values[2] = to_float(T{static_cast<uint16_t>(raw.y & 0xffffu)});
  values[3] = to_float(T{static_cast<uint16_t>(raw.y >> 16)});
}

// What four elements of Stored are in memory.
template <typename Stored>
using Four = std::conditional_t<sizeof(Stored) == 1, uint32_t, uint2>;

template <typename Stored>
__device__ inline void widen(const Four<Stored>& raw, float (&values)[4]) {
  if constexpr (sizeof(Stored) == 1)
    widen_four(raw, values);
  else
    widen_four<Stored>(raw, values);
}

// Where a thread begins to copy.
struct CopyPlace {
  int row, copy;

  __device__ explicit CopyPlace(const TileLayout& layout)
      : row(static_cast<int>(threadIdx.x) / layout.copies),
        copy(static_cast<int>(threadIdx.x) % layout.copies) {}
};

// Calls copy(row, copy) for all of a thread's accesses to rows [first, last).
template <typename Copy>
__device__ void over_copies(const TileLayout& layout, CopyPlace place, int first, int last,
                            Copy copy) {
  for (place.row += first; place.row < last;) {
    copy(place.row, place.copy);
    place.row += layout.row_step;
    place.copy += layout.copy_step;
    if (place.copy >= layout.copies) {
      place.copy -= layout.copies;
      ++place.row;
    }
  }
}

template <int kBytes>
__device__ void copy_rows(const TileLayout& layout, const CopyPlace& place, const char* source,
                          int first, int last, char* tile) {
  over_copies(layout, place, first, last, [&](int row, int copy) {
    __pipeline_memcpy_async(tile + row * layout.pitch * kUnitBytes + copy * kBytes,
                            source + (row * layout.copies + copy) * kBytes, kBytes);
  });
}

// With zeros behind a row's elements.
template <typename Stored>
__device__ void copy_elements(const TileLayout& layout, const CopyPlace& place,
                              const Stored* source, int first, int last, char* tile) {
  over_copies(layout, place, first, last, [&](int row, int channel) {
    Stored* const target = reinterpret_cast<Stored*>(tile + row * layout.pitch * kUnitBytes);
    target[channel] =
        channel < layout.head_dim ? source[row * layout.head_dim + channel] : Stored{};
  });
}

// Copies rows [first, last) of a cache's block, by all threads; they are there when
// __pipeline_wait_prior and then __syncthreads say so.
template <typename Stored>
__device__ void copy_tile(const TileLayout& layout, const CopyPlace& place, const Stored* source,
                          int first, int last, char* tile) {
  const char* const bytes = reinterpret_cast<const char*>(source);
  if (layout.copy_bytes == 16)
    copy_rows<16>(layout, place, bytes, first, last, tile);
  else if (layout.copy_bytes == 8)
    copy_rows<8>(layout, place, bytes, first, last, tile);
  else
    copy_elements(layout, place, source, first, last, tile);
}

}  // namespace kvcalib::kernels
