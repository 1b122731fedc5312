// SPDX-License-Identifier: Apache-2.0
#include "kernels/float_rows.h"
#include "kernels/instruction_set.h"
#include "kernels/swiglu.h"

namespace kvcalib::kernels::cpu {

template <typename T>
void swiglu(const SwigluArguments<T>& arguments, int64_t first_token, int64_t last_token) {
  arguments.check();
  const RowLoops& rows = *fastest_instruction_set().rows;
  const int64_t width = arguments.width;
  std::vector<float> gate_up_scratch, out_scratch;
  for (int64_t token = first_token; token < last_token; ++token) {
    T* const out = arguments.out + token * width;
    const float* const gate_up =
        as_floats(arguments.gate_up + token * 2 * width, 2 * width, gate_up_scratch);
    float* const row = floats_for(out, width, out_scratch);
    rows.swiglu(gate_up, gate_up + width, row, width);
    store_floats(row, width, out);
  }
}

template void swiglu(const SwigluArguments<float>&, int64_t, int64_t);
template void swiglu(const SwigluArguments<Half>&, int64_t, int64_t);
template void swiglu(const SwigluArguments<Bfloat16>&, int64_t, int64_t);

}  // namespace kvcalib::kernels::cpu
