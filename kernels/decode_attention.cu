// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <climits>

#include "kernels/cuda_check.h"
#include "kernels/cuda_chunk.h"
#include "kernels/cuda_decode_chunk.h"
#include "kernels/decode_attention.h"

namespace kvcalib::kernels {
namespace {

// How blocks of threads are counted: chunks the fastest, then passes, kv heads and rows.
struct ChunkGrid {
  unsigned chunks, passes, kv_heads;
  int64_t group;
};

// A block has a chunk of a pass over a kv head of a row.
template <typename T, typename Stored, int kQueries>
__global__ void __launch_bounds__(kDecodeThreads)
    attend_chunk(const DecodeAttentionArguments<T> arguments, const TileLayout layout,
                 const ChunkGrid grid) {
  extern __shared__ float4 memory[];
  const unsigned place = blockIdx.x % grid.chunks, unit = blockIdx.x / grid.chunks;
  const unsigned pass = unit % grid.passes, task = unit / grid.passes;
  const unsigned kv_head = task % grid.kv_heads, row = task / grid.kv_heads;
  const SeenKeys seen(arguments, row);
  const int64_t chunks = seen.chunks();
  if (place >= chunks) return;
  ChunkAttention<T, Stored, kQueries> attention(arguments, layout, grid.group,
                                                reinterpret_cast<char*>(memory), seen, row, kv_head,
                                                pass, seen.first_chunk() + place);
  attention.run();
  if (chunks == 1)
    attention.store();
  else
    attention.store(Partials(arguments, grid.chunks), place);
}

// A block has a query, of several chunks or of no keys.
template <typename T>
__global__ void __launch_bounds__(kDecodeThreads)
    combine_chunks(const DecodeAttentionArguments<T> arguments, int64_t chunks) {
  const int64_t query = blockIdx.x, row = query / arguments.heads, head = query % arguments.heads;
  const int64_t count = SeenKeys(arguments, row).chunks();
  if (count == 1) return;
  T* const out = arguments.out + row * arguments.out_stride + head * arguments.head_dim;
  const Partials partials(arguments, chunks);
  float maximum = -INFINITY, weights = 0.0f;
  for (int64_t i = 0; i < count; ++i) maximum = fmaxf(maximum, partials.maximum(query, i));
  for (int64_t i = 0; i < count; ++i)
    weights += expf(partials.maximum(query, i) - maximum) * partials.weights(query, i);
  for (int64_t channel = threadIdx.x; channel < arguments.head_dim; channel += kDecodeThreads) {
    float attended = 0.0f;
    for (int64_t i = 0; i < count; ++i)
      attended = fmaf(expf(partials.maximum(query, i) - maximum),
                      partials.attended(query, i)[channel], attended);
    out[channel] = from_float<T>(count == 0 ? 0.0f : attended / weights);
  }
}

// Of the most keys that a row sees.
template <typename T>
int64_t most_chunks(const DecodeAttentionArguments<T>& arguments) {
  const int64_t chunks = (arguments.most_keys + kChunkKeys - 1) / kChunkKeys;
  const int64_t window = arguments.sliding_window;
  return window == 0 ? chunks : std::min(chunks, (window - 1) / kChunkKeys + 2);
}

template <typename T, typename Stored, int kQueries>
void launch(const DecodeAttentionArguments<T>& arguments, Stream stream) {
  const TileLayout layout(
      arguments.head_dim, sizeof(Stored),
      chunk_aligned(arguments.key_cache.cache) && chunk_aligned(arguments.value_cache.cache));
  const size_t bytes = Shared<kQueries>::bytes(layout, sizeof(Stored));
  const int64_t chunks = most_chunks(arguments);
  const int64_t passes = (arguments.group() + kQueries - 1) / kQueries;
  const int64_t blocks = arguments.tasks() * passes * chunks;
  require(blocks <= INT_MAX, "decode_attention: fewer rows or keys");
  const auto kernel = attend_chunk<T, Stored, kQueries>;
  constexpr size_t kWithoutAsking = 48 << 10;
  if (bytes > kWithoutAsking)
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(bytes)));
  kernel<<<static_cast<unsigned>(blocks), kDecodeThreads, bytes, stream>>>(
      arguments, layout,
      {static_cast<unsigned>(chunks), static_cast<unsigned>(passes),
       static_cast<unsigned>(arguments.kv_heads), arguments.group()});
  CUDA_CHECK(cudaGetLastError());
}

template <typename T, typename Stored>
void launch_group(const DecodeAttentionArguments<T>& arguments, Stream stream) {
  if (arguments.group() == 1)
    launch<T, Stored, 1>(arguments, stream);
  else if (arguments.group() == 2)
    launch<T, Stored, 2>(arguments, stream);
  else if (arguments.group() <= 4)
    launch<T, Stored, 4>(arguments, stream);
  else
    launch<T, Stored, 8>(arguments, stream);
}

}  // namespace

template <typename T>
void decode_attention(const DecodeAttentionArguments<T>& arguments, Stream stream) {
  arguments.check();
  const int64_t queries = arguments.rows * arguments.heads, chunks = most_chunks(arguments);
  require(queries <= INT_MAX, "decode_attention: fewer rows");
  if (queries == 0) return;
  if (chunks > 0) {
    if (arguments.codes)
      launch_group<T, uint8_t>(arguments, stream);
    else
      launch_group<T, T>(arguments, stream);
  }
  combine_chunks<<<static_cast<unsigned>(queries), kDecodeThreads, 0, stream>>>(arguments, chunks);
  CUDA_CHECK(cudaGetLastError());
}

template void decode_attention(const DecodeAttentionArguments<Half>&, Stream);
template void decode_attention(const DecodeAttentionArguments<Bfloat16>&, Stream);

}  // namespace kvcalib::kernels
