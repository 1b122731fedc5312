// SPDX-License-Identifier: Apache-2.0
#include <type_traits>

#include "kernels/float_rows.h"
#include "kernels/instruction_set.h"
#include "kernels/quantize_dequantize.h"

namespace kvcalib::kernels::cpu {
namespace {

template <typename T>
const CacheLoops& loops_of(CacheType type) {
  const RowLoops& rows = *fastest_instruction_set().rows;
  if constexpr (std::is_same_v<T, Half>) type = CacheType::kHalf;
  if constexpr (std::is_same_v<T, Bfloat16>) type = CacheType::kBfloat16;
  return type == CacheType::kHalf ? rows.half_cache : rows.bfloat16_cache;
}

// All heads of one token.
template <typename T>
void convert(const QuantizeDequantizeArguments<T>& arguments, const CacheLoops& loops, float* row) {
  const int64_t width = arguments.head_dim;
  switch (arguments.code) {
    case CacheCode::kSixteenBits:
      loops.round(row, arguments.columns());
      return;
    case CacheCode::kFloat8:
      loops.float8(row, arguments.scale, arguments.columns());
      return;
    case CacheCode::kInt8:
      if (arguments.counts == nullptr) {
        loops.int8(row, arguments.scale, arguments.zero, arguments.columns(), nullptr);
        return;
      }
      for (int64_t head = 0; head < arguments.kv_heads; ++head)
        loops.int8(row + head * width, arguments.scale + head * width,
                   arguments.zero + head * width, width, arguments.counts + head);
      return;
    case CacheCode::kInt8OfToken:
      for (int64_t head = 0; head < arguments.kv_heads; ++head)
        loops.int8_of_token(row + head * width, width,
                            arguments.counts == nullptr ? nullptr : arguments.counts + head);
      return;
  }
}

}  // namespace

template <typename T>
void quantize_dequantize(const QuantizeDequantizeArguments<T>& arguments, int64_t first_token,
                         int64_t last_token) {
  arguments.check();
  if (!std::is_same_v<T, float> && arguments.code == CacheCode::kSixteenBits) return;
  const CacheLoops& loops = loops_of<T>(arguments.type);
  std::vector<float> scratch;
  for (int64_t token = first_token; token < last_token; ++token) {
    T* const stored = arguments.values + token * arguments.row_stride;
    float* const row = as_floats(stored, arguments.columns(), scratch);
    convert(arguments, loops, row);
    store_floats(row, arguments.columns(), stored);
  }
}

template void quantize_dequantize(const QuantizeDequantizeArguments<float>&, int64_t, int64_t);
template void quantize_dequantize(const QuantizeDequantizeArguments<Half>&, int64_t, int64_t);
template void quantize_dequantize(const QuantizeDequantizeArguments<Bfloat16>&, int64_t, int64_t);

}  // namespace kvcalib::kernels::cpu
