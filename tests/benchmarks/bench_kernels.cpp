// SPDX-License-Identifier: Apache-2.0
// bench_kernels [--benchmark_filter=REGEX] [--benchmark_min_time=SECONDS] [--benchmark_format=json]
// prints how near the kernels come to the rate of a plain copy on the same machine.  A row is
// MACHINE/KERNEL/MODEL/TYPE, or MACHINE/KERNEL/DEPTH/INSTRUCTIONS for the CPU's products; its time
// is that of one call, and its counters are
//   bytes_per_second  each input read once, each output written once: see bytes_moved.h
//   of_copy           that over the bytes per second, read and written, of the copy printed above
//                     (decode_attention hardly writes, and so can exceed it).  _u8: of a cache of
//                     codes; _32: so many rows are decoded together, of 2048 keys each
//   observer_cost     of rotary_observe: the share that the ranges add to the time; without a bias
//                     this includes the reading of v, which is left alone otherwise
//   flop_per_second   of matrix_product and causal_attention, of which only the half that is seen
//                     is counted; of_peak is that over the multiply-adds printed above
//   rows_per_second   of score_rows, two streams with their divergences, 12288 logits each; of_head
//                     is its time over that of a head of 1024 columns at the multiply-adds above
#include <iostream>

#include "tests/benchmarks/kernel_benchmark.h"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  try {
    kvcalib::kernels::add_gpu_kernels();
    kvcalib::kernels::add_cpu_kernels();
    kvcalib::kernels::add_cpu_products();
  } catch (const std::exception& failure) {
    std::cerr << failure.what() << "\n";
    return 1;
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::ClearRegisteredBenchmarks();  // and the GPU's memory, while there is a runtime
  benchmark::Shutdown();
}
