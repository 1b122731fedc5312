// SPDX-License-Identifier: Apache-2.0
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <set>
#include <thread>

#include "calibrate/engine/compute_type.h"
#include "sharding/files/error.h"
#include "sharding/files/ranged_file.h"
#include "sharding/formats/turbomind_directory.h"
#include "sharding/ranks/make_communicator.h"
#include "sharding/streaming/device.h"
#include "sharding/streaming/layer_stream.h"
#include "tests/benchmarks/bench_engine.h"

namespace kvcalib {
namespace {

constexpr uint64_t kRawPieceBytes = uint64_t{4} << 20;

// Reads all layers of a directory through LayerStream, nobody computing with them.
class StreamReader {
 public:
  StreamReader(const TurboMindDirectory& directory, const EngineBenchmark& benchmark)
      : directory_(directory),
        benchmark_(benchmark),
        rendezvous_({}),
        communicator_(make_communicator({}, benchmark.device, rendezvous_)) {}

  struct Turn {
    double seconds = 0;  // until the last layer is whole, in the compute type
    ReadingCost cost;
  };

  Turn run() {
    const ModelConfig& config = directory_.config();
    LayerStream stream({.config = config,
                        .plan = [this](int64_t layer) { return directory_.layer_plan(layer); },
                        .device = benchmark_.device,
                        .compute_type = compute_type(config, benchmark_.device),
                        .reading_threads = benchmark_.reading_threads},
                       *communicator_);
    // The stream begins to read at the end of its construction, when its memory is there.
    const auto start = std::chrono::steady_clock::now();
    for (int64_t layer = 0; layer < config.layers; ++layer) stream.next();
    if (benchmark_.device.is_cuda()) synchronize_gpu(benchmark_.device);
    return {seconds_since(start), stream.cost()};
  }

 private:
  const TurboMindDirectory& directory_;
  const EngineBenchmark& benchmark_;
  Rendezvous rendezvous_;
  const std::unique_ptr<Communicator> communicator_;
};

// Reads the same bytes with as many threads and nothing else: no search for NaN, no layer that has
// to be complete before the next.  On the CPU to where they belong in two layers' memory in turn,
// which is new to the process as LayerStream's is: getting it costs more than reading on some
// virtual machines.  On a GPU into a pinned buffer of each thread.
class RawReader {
 public:
  RawReader(const std::vector<LayerPlan>& plans, const EngineBenchmark& benchmark)
      : threads_(benchmark.reading_threads), on_gpu_(benchmark.device.is_cuda()) {
    int64_t image = 0;
    for (const LayerPlan& plan : plans) {
      image_bytes_ = std::max(image_bytes_, static_cast<int64_t>(plan.image_bytes));
      for (const ImagePiece& piece : cut_image(plan, 0, plan.image_bytes, kRawPieceBytes))
        pieces_.push_back({piece, image});
      image ^= 1;
    }
    if (!on_gpu_) return;
    const auto options = at::dtype(at::kByte).pinned_memory(true);
    for (int64_t thread = 0; thread < threads_; ++thread)
      memory_.push_back(at::empty({static_cast<int64_t>(kRawPieceBytes)}, options).fill_(1));
  }

  double run() {
    if (!on_gpu_) {
      for (int i = 0; i < 2; ++i) memory_.push_back(make_layer_image(image_bytes_, at::kCPU));
    }
    std::atomic<size_t> next{0};
    std::vector<std::exception_ptr> failures(static_cast<size_t>(threads_));
    const auto start = std::chrono::steady_clock::now();
    {
      std::vector<std::jthread> threads;
      for (size_t thread = 0; thread < failures.size(); ++thread)
        threads.emplace_back([&, thread] {
          try {
            read_pieces(next, thread);
          } catch (...) {
            failures[thread] = std::current_exception();
          }
        });
    }
    const double seconds = seconds_since(start);
    if (!on_gpu_) memory_.clear();
    for (const std::exception_ptr& failure : failures)
      if (failure) std::rethrow_exception(failure);
    return seconds;
  }

 private:
  struct Piece {
    ImagePiece piece;
    int64_t image = 0;
  };

  std::byte* memory(const Piece& piece, size_t thread) const {
    if (on_gpu_) return static_cast<std::byte*>(memory_[thread].data_ptr());
    const at::Tensor& image = memory_[static_cast<size_t>(piece.image)];
    return static_cast<std::byte*>(image.data_ptr()) + piece.piece.image_offset;
  }

  void read_pieces(std::atomic<size_t>& next, size_t thread) const {
    for (size_t i = next++; i < pieces_.size(); i = next++) {
      const ImagePiece& piece = pieces_[i].piece;
      const RangedFile file(piece.range->file);
      file.read(piece.range->offset + piece.image_offset - piece.range->image_offset,
                {memory(pieces_[i], thread), piece.bytes});
    }
  }

  const int64_t threads_;
  const bool on_gpu_;
  int64_t image_bytes_ = 0;
  std::vector<Piece> pieces_;
  std::vector<at::Tensor> memory_;  // of two layers, or of every thread
};

// Bytes a second that the bus carries from pinned memory to a GPU, at its best of several.
double copy_rate(const at::Device& device) {
  constexpr int64_t kBytes = int64_t{256} << 20;
  const at::Tensor source = at::empty({kBytes}, at::dtype(at::kByte).pinned_memory(true)).fill_(1);
  const at::Tensor target = at::empty({kBytes}, at::device(device).dtype(at::kByte));
  double best = 0;
  for (int turn = 0; turn < 5; ++turn) {
    synchronize_gpu(device);
    const auto start = std::chrono::steady_clock::now();
    target.copy_(source, /*non_blocking=*/true);
    synchronize_gpu(device);
    best = std::max(best, static_cast<double>(kBytes) / seconds_since(start));
  }
  return best;
}

// Drops the plans' files from the page cache.
void forget(const std::vector<LayerPlan>& plans) {
  std::set<std::filesystem::path> files;
  for (const LayerPlan& plan : plans)
    for (const FileRange& range : plan.ranges) files.insert(range.file);
  for (const std::filesystem::path& file : files) {
    const int descriptor = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) throw Error(concat(file.string(), ": cannot be opened"));
    fsync(descriptor);  // pages not yet written cannot be dropped
    posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED);
    close(descriptor);
  }
}

void refuse_ram_disk(const std::filesystem::path& directory) {
  struct statfs status {};
  if (statfs(directory.c_str(), &status) != 0 || status.f_type != TMPFS_MAGIC) return;
  throw Error(concat("--cold: ", directory.string(), " is on a RAM disk, which is never cold; ",
                     "put the weights on a disk"));
}

double gigabytes_per_second(uint64_t bytes, double seconds) {
  return static_cast<double>(bytes) / seconds / 1e9;
}

}  // namespace

nlohmann::ordered_json benchmark_read(const EngineBenchmark& benchmark) {
  const c10::InferenceMode inference;
  const TurboMindDirectory directory = TurboMindDirectory::open(benchmark.weights);
  if (benchmark.cold) refuse_ram_disk(benchmark.weights);
  std::vector<LayerPlan> plans;
  for (int64_t layer = 0; layer < directory.config().layers; ++layer)
    plans.push_back(directory.layer_plan(layer));
  StreamReader stream(directory, benchmark);
  RawReader raw(plans, benchmark);
  if (!benchmark.cold) raw.run();  // all files are in the page cache

  std::vector<double> stream_seconds, reader_seconds, raw_seconds;
  uint64_t bytes = 0;
  for (int64_t turn = 0; turn < benchmark.repeat; ++turn) {
    if (benchmark.cold) forget(plans);
    const StreamReader::Turn read = stream.run();
    if (benchmark.cold) forget(plans);
    raw_seconds.push_back(raw.run());
    stream_seconds.push_back(read.seconds);
    reader_seconds.push_back(read.cost.read_seconds);
    bytes = read.cost.bytes_read;
  }
  const double stream_rate = gigabytes_per_second(bytes, median(stream_seconds));
  const double reader_rate = gigabytes_per_second(bytes, median(reader_seconds));
  const double raw_rate = gigabytes_per_second(bytes, median(raw_seconds));
  // What a GPU is to have must cross the bus as well.
  const double bus_rate = benchmark.device.is_cuda() ? copy_rate(benchmark.device) / 1e9 : 0;
  const double possible = bus_rate > 0 ? std::min(raw_rate, bus_rate) : raw_rate;
  return {{"benchmark", "read"},
          {"device", benchmark.device.str()},
          {"layers", directory.config().layers},
          {"cold", benchmark.cold},
          {"reading_threads", benchmark.reading_threads},
          {"bytes", bytes},
          // With the assembly of every layer on a GPU.
          {"stream_seconds", median(stream_seconds)},
          {"stream_gigabytes_per_second", stream_rate},
          {"reader_seconds", median(reader_seconds)},  // without it
          {"reader_gigabytes_per_second", reader_rate},
          {"raw_seconds", median(raw_seconds)},
          {"raw_gigabytes_per_second", raw_rate},
          {"bus_gigabytes_per_second", bus_rate},  // 0 on the CPU
          {"possible_gigabytes_per_second", possible},
          {"stream_of_possible", stream_rate / possible},
          {"stream_seconds_in_each_turn", stream_seconds},
          {"reader_seconds_in_each_turn", reader_seconds},
          {"raw_seconds_in_each_turn", raw_seconds}};
}

}  // namespace kvcalib
