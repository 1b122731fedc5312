// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kernels/float_rows.h"
#include "kernels/instruction_set.h"
#include "kernels/rms_norm.h"

namespace kvcalib::kernels::cpu {

template <typename T>
void rms_norm(const RmsNormArguments<T>& arguments, int64_t first_token, int64_t last_token) {
  arguments.check();
  const RowLoops& rows = *fastest_instruction_set().rows;
  const int64_t width = arguments.width;
  std::vector<float> hidden_scratch, delta_scratch, bias_scratch, weight_scratch, out_scratch;
  const float* bias = nullptr;
  if (arguments.delta_bias != nullptr) {
    bias = as_floats(arguments.delta_bias, width, bias_scratch);
  }
  const float* const weight = as_floats(arguments.weight, width, weight_scratch);

  for (int64_t token = first_token; token < last_token; ++token) {
    T* const hidden = arguments.hidden + token * width;
    float* const row = as_floats(hidden, width, hidden_scratch);
    if (arguments.delta != nullptr) {
      rows.add(row, as_floats(arguments.delta + token * width, width, delta_scratch), width);
      if (bias != nullptr) rows.add(row, bias, width);
    }
    const float sum = rows.squares(row, width);
    if (!std::isfinite(sum)) raise(arguments.nonfinite, 1);
    if (arguments.delta != nullptr) {
      round_row<T>(row, width);
      store_floats(row, width, hidden);
    }
    T* const out = arguments.out + token * width;
    float* const out_row = floats_for(out, width, out_scratch);
    const float inverse = 1.0f / std::sqrt(sum / static_cast<float>(width) + arguments.epsilon);
    rows.weigh(row, weight, inverse, out_row, width);
    store_floats(out_row, width, out);
  }
}

template void rms_norm(const RmsNormArguments<float>&, int64_t, int64_t);
template void rms_norm(const RmsNormArguments<Half>&, int64_t, int64_t);
template void rms_norm(const RmsNormArguments<Bfloat16>&, int64_t, int64_t);

}  // namespace kvcalib::kernels::cpu
