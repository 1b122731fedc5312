// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <exception>

#include "sharding/ranks/interconnect.h"

namespace kvcalib {

// The collectives of a run.  All ranks call them in the same order, from one thread at a
// time.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int64_t rank() const = 0;
  virtual int64_t size() const = 0;

  // `bytes` [size() * n] uint8, contiguous: this rank's own n bytes lie at rank() * n; afterwards
  // every rank's do. On a GPU it is ordered on the current stream.
  virtual void all_gather(const at::Tensor& bytes) = 0;
  // Elementwise minimum of `values` (float32, contiguous) over the ranks, in place, on every rank.
  virtual void all_reduce_minimum(const at::Tensor& values) = 0;
  // Elementwise sum of `values` (int64, contiguous) over the ranks, in place, on every rank; sums
  // that leave int64 wrap around.
  virtual void all_reduce_sum(const at::Tensor& values) = 0;
  // The next rank gets `given` and has it in `taken` afterwards, both uint8 [n], contiguous, of the
  // same n on every rank, and apart.  Nobody takes of the last rank, and the first takes nothing.
  // On a GPU it is ordered on the current stream.
  virtual void pass_on(const at::Tensor& given, const at::Tensor& taken) = 0;
  // Returns when every rank has come here.
  virtual void barrier() = 0;
  // From any thread: this rank gives up, and whoever waits for it throws instead of waiting on.
  virtual void abort() = 0;
  // From any thread.  Throws PeerLost or Error when what was called before may not have happened: a
  // rank was lost or gave up, or the network failed.  On a GPU a call says so only here.
  virtual void check() = 0;

  virtual Interconnect interconnect() const = 0;
};

// Aborts the communicator when the scope is left by an exception.
class AbortOnFailure {
 public:
  explicit AbortOnFailure(Communicator& communicator)
      : communicator_(communicator), exceptions_(std::uncaught_exceptions()) {}
  ~AbortOnFailure() {
    if (std::uncaught_exceptions() > exceptions_) communicator_.abort();
  }
  AbortOnFailure(const AbortOnFailure&) = delete;
  AbortOnFailure& operator=(const AbortOnFailure&) = delete;

 private:
  Communicator& communicator_;
  int exceptions_;
};

}  // namespace kvcalib
