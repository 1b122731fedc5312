// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

#include "sharding/ranks/communicator.h"
#include "sharding/ranks/rendezvous.h"

namespace kvcalib {

// Collectives between CPU ranks of one machine: every rank puts a piece into its slot of a shared
// segment, all meet, every rank takes what it needs, all meet again.
class SharedMemoryCommunicator final : public Communicator {
 public:
  SharedMemoryCommunicator(const Rank& rank, Rendezvous& rendezvous);
  ~SharedMemoryCommunicator() override;
  SharedMemoryCommunicator(const SharedMemoryCommunicator&) = delete;
  SharedMemoryCommunicator& operator=(const SharedMemoryCommunicator&) = delete;

  int64_t rank() const override { return rank_; }
  int64_t size() const override { return size_; }
  void all_gather(const at::Tensor& bytes) override;
  void all_reduce_minimum(const at::Tensor& values) override;
  void all_reduce_sum(const at::Tensor& values) override;
  void pass_on(const at::Tensor& given, const at::Tensor& taken) override;
  void barrier() override;
  void abort() override;
  void check() override;
  Interconnect interconnect() const override { return {"shared memory", {}, {}}; }

 private:
  struct Header;
  std::span<std::byte> slot(int64_t rank) const;
  // Combines the ranks' `values` elementwise, in their order but for this rank's, which go first.
  template <typename Value, typename Combine>
  void all_reduce(const at::Tensor& values, const Combine& combine);

  int64_t rank_;
  int64_t size_;
  Rendezvous& rendezvous_;
  Header* header_ = nullptr;
  size_t mapped_bytes_ = 0;
};

}  // namespace kvcalib
