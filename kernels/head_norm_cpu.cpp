// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/float_rows.h"
#include "kernels/head_norm.h"
#include "kernels/instruction_set.h"

namespace kvcalib::kernels::cpu {

template <typename T>
void head_norm(const HeadNormArguments<T>& arguments, int64_t first_token, int64_t last_token) {
  arguments.check();
  const RowLoops& rows = *fastest_instruction_set().rows;
  const int64_t width = arguments.head_dim;
  std::vector<float> row_scratch, query_scratch, key_scratch;
  const float* query_weight = nullptr;
  if (arguments.heads > 0) query_weight = as_floats(arguments.query_weight, width, query_scratch);
  const float* const key_weight = as_floats(arguments.key_weight, width, key_scratch);

  for (int64_t token = first_token; token < last_token; ++token) {
    T* const stored = arguments.qkv + token * arguments.row_stride;
    float* const row = as_floats(stored, arguments.columns(), row_scratch);
    for (int64_t head = 0; head < arguments.heads + arguments.kv_heads; ++head) {
      float* const values = row + head * width;
      const float mean = rows.squares_of_head(values, width) / static_cast<float>(width);
      rows.scale(values, 1.0f / std::sqrt(mean + arguments.epsilon), width);
      round_row<T>(values, width);
      rows.multiply(values, head < arguments.heads ? query_weight : key_weight, width);
    }
    store_floats(row, arguments.columns(), stored);
  }
}

template void head_norm(const HeadNormArguments<float>&, int64_t, int64_t);
template void head_norm(const HeadNormArguments<Half>&, int64_t, int64_t);
template void head_norm(const HeadNormArguments<Bfloat16>&, int64_t, int64_t);

}  // namespace kvcalib::kernels::cpu
