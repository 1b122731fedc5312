// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/rms_norm.h"
#include "tests/gpu/device_array.h"
#include "tests/kernels/kernel_test_data.h"

namespace kvcalib::kernels {

// Equal up to the rounding to T and a few units in the last place of fp32.
template <typename T>
::testing::AssertionResult close(const std::vector<T>& left, const std::vector<T>& right) {
  if (left.size() != right.size()) return ::testing::AssertionFailure() << "sizes differ";
  for (size_t i = 0; i < left.size(); ++i) {
    const float a = to_float(left[i]);
    const float b = to_float(right[i]);
    const bool both_nan = std::isnan(a) && std::isnan(b);
    const double tolerance = std::abs(b) * std::max(unit_roundoff<T>(), 16 * 0x1p-23) + 0x1p-24;
    if (a != b && !both_nan && !(std::abs(a - b) <= tolerance)) {
      return ::testing::AssertionFailure() << "element " << i << ": " << a << " and " << b;
    }
  }
  return ::testing::AssertionSuccess();
}

// The operands of one rms_norm in host memory, and what it wrote.
template <typename T>
struct NormCase {
  NormCase(int64_t tokens, int64_t width)
      : tokens(tokens),
        width(width),
        hidden(random_values<T>(tokens * width, 1, 2.0f)),
        delta(random_values<T>(tokens * width, 2)),
        bias(random_values<T>(width, 3)),
        weight(random_values<T>(width, 4)),
        out(hidden.size(), from_float<T>(77.0f)) {}

  NormCase on_cpu(bool with_delta, bool with_bias) const {
    NormCase test = *this;
    cpu::rms_norm<T>({test.hidden.data(), with_delta ? test.delta.data() : nullptr,
                      with_bias ? test.bias.data() : nullptr, test.weight.data(), test.out.data(),
                      tokens, width, 1e-5f, &test.nonfinite},
                     0, tokens);
    return test;
  }

  NormCase on_gpu(bool with_delta, bool with_bias, cudaStream_t stream, int64_t offset = 0) const {
    NormCase test = *this;
    DeviceArray<T> device_hidden(hidden, offset), device_delta(delta), device_bias(bias),
        device_weight(weight), device_out(out);
    DeviceArray<int> device_nonfinite({nonfinite});
    rms_norm<T>({device_hidden.data(), with_delta ? device_delta.data() : nullptr,
                 with_bias ? device_bias.data() : nullptr, device_weight.data(), device_out.data(),
                 tokens, width, 1e-5f, device_nonfinite.data()},
                stream);
    test.hidden = device_hidden.to_host();
    test.out = device_out.to_host();
    test.nonfinite = device_nonfinite.to_host()[0];
    return test;
  }

  int64_t tokens, width;
  std::vector<T> hidden, delta, bias, weight, out;
  int nonfinite = 0;
};

}  // namespace kvcalib::kernels
