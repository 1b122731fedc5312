// SPDX-License-Identifier: Apache-2.0
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAEvent.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <thread>

#include "kernels/cuda_check.h"
#include "sharding/streaming/layer_transport.h"

namespace kvcalib {
namespace {

// Times that a stream spends between two points, each known when the stream has passed the second.
class StreamTimer {
 public:
  void begin(const c10::cuda::CUDAStream& stream) {
    const std::lock_guard lock(mutex_);
    open_.emplace_back();
    open_.back().begin.record(stream);
  }
  void end(const c10::cuda::CUDAStream& stream) {
    const std::lock_guard lock(mutex_);
    open_.back().end.record(stream);
    open_.back().is_complete = true;
  }
  double seconds() {
    const std::lock_guard lock(mutex_);
    while (!open_.empty() && open_.front().is_complete && open_.front().end.query()) {
      seconds_ += open_.front().begin.elapsed_time(open_.front().end) / 1e3;
      open_.pop_front();
    }
    return seconds_;
  }

 private:
  struct Interval {
    at::cuda::CUDAEvent begin{cudaEventDefault}, end{cudaEventDefault};
    bool is_complete = false;
  };
  std::mutex mutex_;
  std::deque<Interval> open_;
  double seconds_ = 0;
};

// Of one buffer. Smaller copies do not use the bus fully; larger buffers, of all threads together,
// leave the processor's cache before they are copied.
constexpr uint64_t kPinnedBytes = uint64_t{4} << 20;

// On a GPU every worker reads into two pinned buffers of its own in turn, so that one is copied
// while the other fills.  Copies and the exchange run on a stream beside the computation.
class CudaTransport final : public LayerTransport {
 public:
  CudaTransport(const at::Device& device, int64_t reading_threads, Trace* trace)
      : device_(device),
        reading_threads_(reading_threads),
        trace_(trace),
        stream_(at::cuda::getStreamFromPool(/*isHighPriority=*/true, device.index())),
        buffers_(static_cast<size_t>(reading_threads)) {
    for (Buffers& buffers : buffers_) {
      for (at::Tensor& buffer : buffers.pinned)
        buffer = at::empty({static_cast<int64_t>(piece_bytes())},
                           at::dtype(at::kByte).pinned_memory(true));
    }
  }

  uint64_t piece_bytes() const override { return kPinnedBytes; }

  void fill(const at::Tensor& image, const std::vector<ImagePiece>& pieces,
            const std::function<bool()>& wait_until_free,
            const std::function<bool()>& stopped) override {
    std::once_flag ordered;
    bool begun = false;
    auto* const base = static_cast<std::byte*>(image.data_ptr());
    const auto memory = [this](int64_t worker, const ImagePiece& piece) {
      Buffers& own = buffers_[static_cast<size_t>(worker)];
      own.turn ^= 1;
      if (own.copied[own.turn].isCreated()) own.copied[own.turn].synchronize();
      return std::span(static_cast<std::byte*>(own.pinned[own.turn].data_ptr()), piece.bytes);
    };
    const auto copy = [&, base](int64_t worker, const ImagePiece& piece) {
      if (!wait_until_free()) return;
      const c10::cuda::CUDAStreamGuard guard(stream_);
      std::call_once(ordered, [&] {
        if (used_.isCreated()) used_.block(stream_);
        read_.begin(stream_);
        begun = true;
      });
      const DeviceSpan span(trace_, "copies", "copy");
      Buffers& own = buffers_[static_cast<size_t>(worker)];
      CUDA_CHECK(cudaMemcpyAsync(base + piece.image_offset, own.pinned[own.turn].data_ptr(),
                                 piece.bytes, cudaMemcpyHostToDevice, stream_));
      own.copied[own.turn].record(stream_);
    };
    read_image(pieces, reading_threads_, {memory, copy, stopped});
    if (begun) read_.end(stream_);
    bytes_read_ += bytes_of(pieces);
  }

  void exchange(const at::Tensor& image, Communicator& communicator) override {
    const c10::cuda::CUDAStreamGuard guard(stream_);
    {
      const DeviceSpan span(trace_, "gather", "gather");
      gather_.begin(stream_);
      communicator.all_gather(image);
      gather_.end(stream_);
    }
    bytes_gathered_ += gathered_bytes(image, communicator);
    full_.record(stream_);
    // Full means full, and this thread has nothing else to do.
    while (!full_.query()) {
      communicator.check();
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    communicator.check();
  }

  void begin_wait() override { computation_wait_.begin(current_stream()); }
  void begin_use() override {
    full_.block(current_stream());
    computation_wait_.end(current_stream());
  }
  void end_use() override { used_.record(current_stream()); }
  ReadingCost cost() override {
    return {bytes_read_, read_.seconds(), bytes_gathered_, gather_.seconds(),
            computation_wait_.seconds()};
  }

 private:
  c10::cuda::CUDAStream current_stream() const {
    return at::cuda::getCurrentCUDAStream(device_.index());
  }

  struct Buffers {
    at::Tensor pinned[2];
    at::cuda::CUDAEvent copied[2];
    int turn = 0;
  };

  at::Device device_;
  int64_t reading_threads_;
  Trace* trace_;
  c10::cuda::CUDAStream stream_;
  std::vector<Buffers> buffers_;
  at::cuda::CUDAEvent full_;
  at::cuda::CUDAEvent used_;
  std::atomic<uint64_t> bytes_read_{0}, bytes_gathered_{0};
  StreamTimer read_;
  StreamTimer gather_;
  StreamTimer computation_wait_;
};

}  // namespace

std::unique_ptr<LayerTransport> make_cuda_transport(const at::Device& device,
                                                    int64_t reading_threads, Trace* trace) {
  return std::make_unique<CudaTransport>(device, reading_threads, trace);
}

}  // namespace kvcalib
