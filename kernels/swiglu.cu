// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kernels/cuda_check.h"
#include "kernels/cuda_chunk.h"
#include "kernels/swiglu.h"

namespace kvcalib::kernels {
namespace {

constexpr unsigned kThreads = 256;
constexpr int64_t kMaximumRowBlocks = 65535;  // the grid's second dimension

// Each thread makes one chunk of one token's row, then goes on to the tokens further down.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads) swiglu_chunks(const SwigluArguments<T> arguments) {
  const int64_t column = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
  if (column >= arguments.width) return;
  for (int64_t token = blockIdx.y; token < arguments.tokens; token += gridDim.y) {
    const T* const gate_up = arguments.gate_up + token * 2 * arguments.width + column;
    const auto gate = load_constant_chunk<T, N>(gate_up);
    const auto up = load_constant_chunk<T, N>(gate_up + arguments.width);
    Chunk<T, N> out;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const float x = to_float(gate.values[n]);
      out.values[n] = from_float<T>(x / (1.0f + expf(-x)) * to_float(up.values[n]));
    }
    store_chunk(arguments.out + token * arguments.width + column, out);
  }
}

template <typename T, int N>
void launch(const SwigluArguments<T>& arguments, Stream stream) {
  const int64_t chunks = arguments.width / N;
  const dim3 grid(static_cast<unsigned>((chunks + kThreads - 1) / kThreads),
                  static_cast<unsigned>(std::min(arguments.tokens, kMaximumRowBlocks)));
  swiglu_chunks<T, N><<<grid, kThreads, 0, stream>>>(arguments);
  CUDA_CHECK(cudaGetLastError());
}

}  // namespace

template <typename T>
void swiglu(const SwigluArguments<T>& arguments, Stream stream) {
  arguments.check();
  require(arguments.width < int64_t{1} << 31, "swiglu: width < 2^31");
  if (arguments.tokens == 0) return;
  constexpr int kElements = kChunkElements<T>;
  if (arguments.width % kElements == 0 && chunk_aligned(arguments.gate_up) &&
      chunk_aligned(arguments.out)) {
    launch<T, kElements>(arguments, stream);
  } else {
    launch<T, 1>(arguments, stream);
  }
}

template void swiglu(const SwigluArguments<Half>&, Stream);
template void swiglu(const SwigluArguments<Bfloat16>&, Stream);

}  // namespace kvcalib::kernels
