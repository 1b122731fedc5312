// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <climits>

#include "kernels/cuda_check.h"
#include "kernels/cuda_numeric.h"
#include "kernels/cuda_running_maximum.h"
#include "kernels/pair_reach.h"

namespace kvcalib::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int64_t kMostTokensPerBlock = 256;  // enough to make the merge of the reach cheap
constexpr int64_t kFewestTokensPerBlock = 32;
constexpr int64_t kEnoughBlocks = 1024;         // a few for every multiprocessor
constexpr int64_t kMaximumTokenBlocks = 65535;  // the grid's second dimension
constexpr int kQuarter = kReachDirections / 4;

// The table itself is the host's.
__device__ constexpr float cosine_of(int direction) {
  constexpr float kCosines[kQuarter + 1] = {kReachCosines[0], kReachCosines[1], kReachCosines[2],
                                            kReachCosines[3], kReachCosines[4], kReachCosines[5],
                                            kReachCosines[6], kReachCosines[7], kReachCosines[8]};
  return kCosines[direction];
}

// The reach of one pair over one thread's tokens.  Intrinsics keep the compiler from fusing, so
// that the CPU twin gives the same bits.
class ThreadReach {
 public:
  __device__ ThreadReach() {
#pragma unroll
    for (float& reach : reach_) reach = -INFINITY;
  }

  __device__ void observe(float first, float second) {
    widen(0, first);
    widen(2 * kQuarter, -first);
    widen(kQuarter, second);
    widen(3 * kQuarter, -second);
#pragma unroll
    for (int i = 1; i < kQuarter; ++i) {
      const float along = __fmul_rn(cosine_of(i), first);
      const float across = __fmul_rn(cosine_of(kQuarter - i), second);
      const float sum = __fadd_rn(across, along);
      const float difference = __fsub_rn(across, along);
      widen(i, sum);
      widen(2 * kQuarter + i, -sum);
      widen(2 * kQuarter - i, difference);
      widen(4 * kQuarter - i, -difference);
    }
  }

  // What is read beforehand may be stale, hence too small, which costs an atomic in vain but loses
  // nothing.
  __device__ void merge(float* running, int64_t stride) const {
#pragma unroll
    for (int i = 0; i < kReachDirections; ++i) {
      float* const target = running + i * stride;
      const float reach = __fadd_rn(reach_[i], 0.0f);  // -0 becomes +0
      if (reach > __ldcg(target)) raise_to(target, reach);
    }
  }

 private:
  __device__ void widen(int direction, float value) {
    reach_[direction] = fmaxf(reach_[direction], value);  // of a NaN and a number, the number
  }

  float reach_[kReachDirections];
};

// A thread takes its pair through the tokens of its block.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    pair_reach_of_blocks(const PairReachArguments<T> arguments, int64_t tokens_per_block) {
  const int64_t half = arguments.head_dim / 2, pairs = arguments.kv_heads * half;
  const int64_t pair = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (pair >= pairs) return;
  const int64_t first = static_cast<int64_t>(blockIdx.y) * tokens_per_block;
  const int64_t last = min(first + tokens_per_block, arguments.tokens);
  const T* keys = arguments.qkv + first * arguments.row_stride +
                  arguments.heads * arguments.head_dim + 2 * pair;
  const float* const cosines = arguments.cosine + pair % half;
  const float* const sines = arguments.sine + pair % half;
  ThreadReach reach;
#pragma unroll 4
  for (int64_t token = first; token < last; ++token, keys += arguments.row_stride) {
    const int64_t row = __ldg(arguments.positions + token) * half;
    const float cosine = __ldg(cosines + row), sine = __ldg(sines + row);
    const float x0 = to_float(keys[0]), x1 = to_float(keys[1]);
    reach.observe(__fadd_rn(__fmul_rn(cosine, x0), __fmul_rn(sine, x1)),
                  __fsub_rn(__fmul_rn(cosine, x1), __fmul_rn(sine, x0)));
  }
  reach.merge(arguments.reach + pair, pairs);
}

}  // namespace

template <typename T>
void pair_reach(const PairReachArguments<T>& arguments, Stream stream) {
  arguments.check();
  if (arguments.tokens == 0) return;
  const int64_t pair_blocks = (arguments.pairs() + kThreads - 1) / kThreads;
  require(pair_blocks <= INT_MAX, "pair_reach: fewer kv heads");
  const int64_t tokens_per_block =
      std::max(std::clamp(arguments.tokens * pair_blocks / kEnoughBlocks, kFewestTokensPerBlock,
                          kMostTokensPerBlock),
               (arguments.tokens + kMaximumTokenBlocks - 1) / kMaximumTokenBlocks);
  const dim3 grid(
      static_cast<unsigned>(pair_blocks),
      static_cast<unsigned>((arguments.tokens + tokens_per_block - 1) / tokens_per_block));
  pair_reach_of_blocks<<<grid, kThreads, 0, stream>>>(arguments, tokens_per_block);
  CUDA_CHECK(cudaGetLastError());
}

template void pair_reach(const PairReachArguments<Half>&, Stream);
template void pair_reach(const PairReachArguments<Bfloat16>&, Stream);

}  // namespace kvcalib::kernels
