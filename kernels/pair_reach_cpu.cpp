// SPDX-License-Identifier: Apache-2.0
#include "kernels/float_rows.h"
#include "kernels/instruction_set.h"
#include "kernels/pair_reach.h"

namespace kvcalib::kernels::cpu {

template <typename T>
void pair_reach(const PairReachArguments<T>& arguments, int64_t first_token, int64_t last_token) {
  arguments.check();
  const RowLoops& rows = *fastest_instruction_set().rows;
  const int64_t half = arguments.head_dim / 2;
  std::vector<float> scratch;
  for (int64_t token = first_token; token < last_token; ++token) {
    const int64_t position = arguments.positions[token];
    require(0 <= position && position < arguments.length, "pair_reach: positions < length");
    const float* const keys = as_floats(
        arguments.qkv + token * arguments.row_stride + arguments.heads * arguments.head_dim,
        arguments.kv_heads * arguments.head_dim, scratch);
    rows.widen_reach(keys, arguments.cosine + position * half, arguments.sine + position * half,
                     arguments.kv_heads, half, arguments.reach);
  }
}

template void pair_reach(const PairReachArguments<float>&, int64_t, int64_t);
template void pair_reach(const PairReachArguments<Half>&, int64_t, int64_t);
template void pair_reach(const PairReachArguments<Bfloat16>&, int64_t, int64_t);

}  // namespace kvcalib::kernels::cpu
