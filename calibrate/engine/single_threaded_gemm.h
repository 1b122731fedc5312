// SPDX-License-Identifier: Apache-2.0
#pragma once

// MKL's, which LibTorch exports where it is built with it; absent elsewhere.
extern "C" __attribute__((weak)) int MKL_Set_Num_Threads_Local(int threads);

namespace kvcalib {

// While it lives, GEMMs on this thread are single-threaded.  MKL sums in another order when it
// thinks that it may use several threads, even where it then does not.
class SingleThreadedGemm {
 public:
  SingleThreadedGemm() : previous_(set(1)) {}
  ~SingleThreadedGemm() { set(previous_); }
  SingleThreadedGemm(const SingleThreadedGemm&) = delete;
  SingleThreadedGemm& operator=(const SingleThreadedGemm&) = delete;

 private:
  static int set(int threads) {
    return MKL_Set_Num_Threads_Local != nullptr ? MKL_Set_Num_Threads_Local(threads) : 0;
  }
  int previous_;
};

}  // namespace kvcalib
