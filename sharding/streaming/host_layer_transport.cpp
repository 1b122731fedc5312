// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <mutex>

#include "sharding/files/seconds_since.h"
#include "sharding/streaming/layer_transport.h"

namespace kvcalib {
namespace {

using Clock = std::chrono::steady_clock;

// On the CPU the files are read straight into the image.
class HostTransport final : public LayerTransport {
 public:
  HostTransport(int64_t reading_threads, Trace* trace)
      : reading_threads_(reading_threads), trace_(trace) {}

  uint64_t piece_bytes() const override { return uint64_t{4} << 20; }

  void fill(const at::Tensor& image, const std::vector<ImagePiece>& pieces,
            const std::function<bool()>& wait_until_free,
            const std::function<bool()>& stopped) override {
    if (!wait_until_free()) return;
    auto* const base = static_cast<std::byte*>(image.data_ptr());
    const auto memory = [base](int64_t /*worker*/, const ImagePiece& piece) {
      return std::span(base + piece.image_offset, piece.bytes);
    };
    const Clock::time_point begin = Clock::now();
    read_image(pieces, reading_threads_, {memory, {}, stopped});
    const std::lock_guard lock(mutex_);
    cost_.bytes_read += bytes_of(pieces);
    cost_.read_seconds += seconds_since(begin);
  }

  void exchange(const at::Tensor& image, Communicator& communicator) override {
    const HostSpan span(trace_, "gather", "gather");
    const Clock::time_point begin = Clock::now();
    communicator.all_gather(image);
    const std::lock_guard lock(mutex_);
    cost_.bytes_gathered += gathered_bytes(image, communicator);
    cost_.gather_seconds += seconds_since(begin);
  }
  void begin_wait() override { wait_begin_ = Clock::now(); }
  void begin_use() override {
    const std::lock_guard lock(mutex_);
    cost_.waited_seconds += seconds_since(wait_begin_);
  }
  void end_use() override {}
  ReadingCost cost() override {
    const std::lock_guard lock(mutex_);
    return cost_;
  }

 private:
  int64_t reading_threads_;
  Trace* trace_;
  Clock::time_point wait_begin_;
  std::mutex mutex_;
  ReadingCost cost_;
};

}  // namespace

std::unique_ptr<LayerTransport> make_host_transport(int64_t reading_threads, Trace* trace) {
  return std::make_unique<HostTransport>(reading_threads, trace);
}

}  // namespace kvcalib
