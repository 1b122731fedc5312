// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/shared_memory_communicator.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <thread>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr size_t kSlotBytes = size_t{1} << 20;

std::string machine_identity() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string identity;
  file >> identity;
  // Ranks that both cannot say where they are need not be on one machine.
  if (identity.empty())
    throw Error(
        "/proc/sys/kernel/random/boot_id: cannot be read; CPU ranks tell by it that they "
        "share a machine");
  return identity;
}

[[noreturn]] void fail(const char* what) {
  throw Error(concat("shared memory between CPU ranks: ", what, ": ", std::strerror(errno)));
}

}  // namespace

// What the ranks share before their slots.  A fresh segment is all zeros.
struct SharedMemoryCommunicator::Header {
  std::atomic<int64_t> arrived;
  std::atomic<int64_t> round;
  std::atomic<bool> aborted;
};

SharedMemoryCommunicator::SharedMemoryCommunicator(const Rank& rank, Rendezvous& rendezvous)
    : rank_(rank.index), size_(rank.world), rendezvous_(rendezvous) {
  if (size_ > kMostCpuRanks)
    throw Error(concat("--devices: ", size_, " CPU ranks, at most ", kMostCpuRanks));
  mapped_bytes_ = 4096 + static_cast<size_t>(size_) * kSlotBytes;
  static_assert(sizeof(Header) <= 4096);

  int file = -1;
  if (rank_ == 0) {
    file = memfd_create("kvcalib", MFD_CLOEXEC);  // ends with the processes that hold it
    if (file < 0) fail("memfd_create");
    if (ftruncate(file, static_cast<off_t>(mapped_bytes_)) != 0) fail("ftruncate");
    rendezvous.set("shared-memory", concat(machine_identity(), " /proc/", getpid(), "/fd/", file));
  } else {
    const std::string place = rendezvous.get("shared-memory");
    const size_t space = place.find(' ');
    if (place.substr(0, space) != machine_identity())
      throw Error(
          "--devices cpu: the ranks run on different machines; CPU ranks share one machine");
    file = open(place.substr(space + 1).c_str(), O_RDWR | O_CLOEXEC);
    if (file < 0) fail("opening rank 0's memory");
  }
  void* memory = mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) fail("mmap");
  header_ = static_cast<Header*>(memory);
  rendezvous.set(concat("mapped-", rank_), "1");
  for (int64_t peer = 0; peer < size_; ++peer) rendezvous.get(concat("mapped-", peer));
  close(file);  // not before all have opened it through rank 0
  rendezvous_.peers().when_lost([header = header_] { header->aborted = true; });
}

SharedMemoryCommunicator::~SharedMemoryCommunicator() {
  rendezvous_.peers().when_lost({});
  if (header_ != nullptr) munmap(header_, mapped_bytes_);
}

std::span<std::byte> SharedMemoryCommunicator::slot(int64_t rank) const {
  return {reinterpret_cast<std::byte*>(header_) + 4096 + static_cast<size_t>(rank) * kSlotBytes,
          kSlotBytes};
}

void SharedMemoryCommunicator::barrier() {
  const int64_t round = header_->round.load();
  if (header_->arrived.fetch_add(1) + 1 == size_) {
    header_->arrived = 0;
    header_->round = round + 1;
    return;
  }
  for (int64_t waited = 0; header_->round.load() == round; ++waited) {
    check();
    if (waited < 200)
      std::this_thread::yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(waited < 2000 ? 50 : 1000));
  }
}

void SharedMemoryCommunicator::abort() {
  rendezvous_.peers().give_up();
  header_->aborted = true;
}

void SharedMemoryCommunicator::check() {
  if (header_->aborted) rendezvous_.peers().explain();
}

void SharedMemoryCommunicator::all_gather(const at::Tensor& bytes) {
  auto* const data = static_cast<std::byte*>(bytes.data_ptr());
  const size_t share = static_cast<size_t>(bytes.numel() / size_);
  for (size_t done = 0; done < share; done += kSlotBytes) {
    const size_t piece = std::min(kSlotBytes, share - done);
    std::memcpy(slot(rank_).data(), data + static_cast<size_t>(rank_) * share + done, piece);
    barrier();
    for (int64_t peer = 0; peer < size_; ++peer) {
      if (peer != rank_)
        std::memcpy(data + static_cast<size_t>(peer) * share + done, slot(peer).data(), piece);
    }
    barrier();
  }
}

void SharedMemoryCommunicator::pass_on(const at::Tensor& given, const at::Tensor& taken) {
  const auto* const source = static_cast<const std::byte*>(given.data_ptr());
  auto* const target = static_cast<std::byte*>(taken.data_ptr());
  const auto bytes = static_cast<size_t>(given.numel());
  for (size_t done = 0; done < bytes; done += kSlotBytes) {
    const size_t piece = std::min(kSlotBytes, bytes - done);
    if (rank_ + 1 < size_) std::memcpy(slot(rank_).data(), source + done, piece);
    barrier();
    if (rank_ > 0) std::memcpy(target + done, slot(rank_ - 1).data(), piece);
    barrier();
  }
}

template <typename Value, typename Combine>
void SharedMemoryCommunicator::all_reduce(const at::Tensor& values, const Combine& combine) {
  auto* const data = values.data_ptr<Value>();
  const auto count = static_cast<size_t>(values.numel());
  constexpr size_t kSlotValues = kSlotBytes / sizeof(Value);
  for (size_t done = 0; done < count; done += kSlotValues) {
    const size_t piece = std::min(kSlotValues, count - done);
    std::memcpy(slot(rank_).data(), data + done, piece * sizeof(Value));
    barrier();
    for (int64_t peer = 0; peer < size_; ++peer) {
      if (peer == rank_) continue;
      const auto* const other = reinterpret_cast<const Value*>(slot(peer).data());
      for (size_t i = 0; i < piece; ++i) data[done + i] = combine(data[done + i], other[i]);
    }
    barrier();
  }
}

void SharedMemoryCommunicator::all_reduce_minimum(const at::Tensor& values) {
  all_reduce<float>(values, [](float a, float b) { return std::min(a, b); });
}

void SharedMemoryCommunicator::all_reduce_sum(const at::Tensor& values) {
  all_reduce<int64_t>(values, [](int64_t a, int64_t b) {
    return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  });
}

}  // namespace kvcalib
