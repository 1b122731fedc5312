// SPDX-License-Identifier: Apache-2.0
#include "kernels/float_rows.h"
#include "kernels/instruction_set.h"
#include "kernels/rotary_observe.h"

namespace kvcalib::kernels::cpu {
namespace {

// Whether K or V of one token, [kv_heads, head_dim], holds NaN or infinity; widens the range where
// one is wanted.
bool observe(const RowLoops& rows, const float* row, int64_t width, const ChannelRange& range) {
  if (range.minimum == nullptr) return rows.holds_nonfinite(row, width);
  return rows.observe(row, width, range.minimum, range.maximum);
}

}  // namespace

template <typename T>
void rotary_observe(const RotaryObserveArguments<T>& arguments, int64_t first_token,
                    int64_t last_token) {
  arguments.check();
  const RowLoops& rows = *fastest_instruction_set().rows;
  const int64_t half = arguments.head_dim / 2;
  const int64_t query_width = arguments.heads * arguments.head_dim;
  const int64_t key_width = arguments.kv_heads * arguments.head_dim;
  const int64_t rotated_width = query_width + key_width;
  std::vector<float> row_scratch, bias_scratch;
  const float* bias = nullptr;
  if (arguments.bias != nullptr) {
    bias = as_floats(arguments.bias, arguments.columns(), bias_scratch);
  }
  for (int64_t token = first_token; token < last_token; ++token) {
    const int64_t position = arguments.positions[token];
    require(0 <= position && position < arguments.length, "rotary_observe: positions < length");
    T* const stored = arguments.qkv + token * arguments.row_stride;
    float* const row = as_floats(stored, arguments.columns(), row_scratch);
    if (bias != nullptr) {
      rows.add(row, bias, arguments.columns());
      round_row<T>(row, arguments.columns());
    }
    rows.rotate(row, arguments.cosine + position * half, arguments.sine + position * half,
                arguments.heads + arguments.kv_heads, half);
    round_row<T>(row, rotated_width);
    if (arguments.query_scale != nullptr) {
      rows.scale(row, arguments.query_scale[position], query_width);
      round_row<T>(row, query_width);
    }
    store_floats(row, bias != nullptr ? arguments.columns() : rotated_width, stored);

    if (observe(rows, row + query_width, key_width, arguments.keys))
      raise(arguments.nonfinite, kNonfiniteKey);
    if (observe(rows, row + rotated_width, key_width, arguments.values))
      raise(arguments.nonfinite, kNonfiniteValue);
  }
}

template void rotary_observe(const RotaryObserveArguments<float>&, int64_t, int64_t);
template void rotary_observe(const RotaryObserveArguments<Half>&, int64_t, int64_t);
template void rotary_observe(const RotaryObserveArguments<Bfloat16>&, int64_t, int64_t);

}  // namespace kvcalib::kernels::cpu
