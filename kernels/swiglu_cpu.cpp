// SPDX-License-Identifier: Apache-2.0
#include "kernels/exponential.h"
#include "kernels/float_rows.h"
#include "kernels/swiglu.h"
#include "kernels/vectorised.h"

namespace kvcalib::kernels::cpu {
namespace {

KVCALIB_VECTORISED
void exponential_row(const float* in, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) out[i] = exponential(in[i]);
}

KVCALIB_VECTORISED
void swiglu_row(const float* __restrict__ gate, const float* __restrict__ up,
                float* __restrict__ out, int64_t width) {
  for (int64_t i = 0; i < width; ++i) out[i] = gate[i] / (1.0f + exponential(-gate[i])) * up[i];
}

}  // namespace

void exponential(const float* in, float* out, int64_t count) { exponential_row(in, out, count); }

template <typename T>
void swiglu(const SwigluArguments<T>& arguments, int64_t first_token, int64_t last_token) {
  arguments.check();
  const int64_t width = arguments.width;
  std::vector<float> gate_up_scratch, out_scratch;
  for (int64_t token = first_token; token < last_token; ++token) {
    T* const out = arguments.out + token * width;
    const float* const gate_up =
        as_floats(arguments.gate_up + token * 2 * width, 2 * width, gate_up_scratch);
    float* const row = floats_for(out, width, out_scratch);
    swiglu_row(gate_up, gate_up + width, row, width);
    store_floats(row, width, out);
  }
}

template void swiglu(const SwigluArguments<float>&, int64_t, int64_t);
template void swiglu(const SwigluArguments<__half>&, int64_t, int64_t);
template void swiglu(const SwigluArguments<__nv_bfloat16>&, int64_t, int64_t);

}  // namespace kvcalib::kernels::cpu
