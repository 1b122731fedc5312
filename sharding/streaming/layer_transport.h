// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

#include "sharding/ranks/communicator.h"
#include "sharding/streaming/image_reader.h"
#include "sharding/streaming/reading_cost.h"
#include "sharding/streaming/trace.h"

namespace kvcalib {

// How this rank's share of a layer's image comes from files to the device, and who may touch the
// image when.
class LayerTransport {
 public:
  virtual ~LayerTransport() = default;

  // The size of pieces that `fill` wants.
  virtual uint64_t piece_bytes() const = 0;
  // Reader's thread.  Reads `pieces` into `image` (uint8, on the device), which is not written to
  // before `wait_until_free` has returned true; leaves early when it returns false or `stopped`
  // says so.  Both are called from any thread.  Throws what read_image throws.
  virtual void fill(const at::Tensor& image, const std::vector<ImagePiece>& pieces,
                    const std::function<bool()>& wait_until_free,
                    const std::function<bool()>& stopped) = 0;
  // A thread of its own, while the next layer is being filled; that layer's bytes do not reach this
  // image before it is free again.  Afterwards the image holds every rank's share.
  virtual void exchange(const at::Tensor& image, Communicator& communicator) = 0;
  // Caller's thread: it is about to wait until the image is full.
  virtual void begin_wait() = 0;
  // Caller's thread, around its use of a full image: what it enqueues on its current stream between
  // the two comes after the exchange and before the next fill.
  virtual void begin_use() = 0;
  virtual void end_use() = 0;

  // Any thread.  What fills, exchanges and waits cost so far.  An exchange takes from the beginning
  // of the call on this rank; a wait between begin_wait and begin_use does not count while a GPU
  // still works on what it was given before.
  virtual ReadingCost cost() = 0;

 protected:
  static uint64_t bytes_of(const std::vector<ImagePiece>& pieces);
  // Of the others' shares.
  static uint64_t gathered_bytes(const at::Tensor& image, const Communicator& communicator);
};

// To the memory of the CPU, and to a GPU's.
std::unique_ptr<LayerTransport> make_host_transport(int64_t reading_threads, Trace* trace);
std::unique_ptr<LayerTransport> make_cuda_transport(const at::Device& device,
                                                    int64_t reading_threads, Trace* trace);

}  // namespace kvcalib
