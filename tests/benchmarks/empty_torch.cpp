// SPDX-License-Identifier: Apache-2.0
// bench_empty_torch: the least that a LibTorch program does, linked as kvcalib is; what kvcalib
// takes to start is measured against it.
#include <ATen/ATen.h>

int main() {
  const at::Tensor one = at::ones({1});
  return one.numel() == 1 ? 0 : 1;
}
