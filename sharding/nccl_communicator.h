// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "sharding/communicator.h"

struct ncclComm;

namespace kvcalib {

// Collectives between GPUs, one process each.  Every call is enqueued on the current CUDA stream.
class NcclCommunicator final : public Communicator {
 public:
  // Throws Error when NCCL cannot connect the ranks, naming its own reason.
  NcclCommunicator(const Rank& rank, const at::Device& device, Rendezvous& rendezvous);
  ~NcclCommunicator() override;
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  int64_t rank() const override { return rank_; }
  int64_t size() const override { return size_; }
  void all_gather(const at::Tensor& bytes) override;
  void all_reduce_minimum(const at::Tensor& values) override;
  void barrier() override;
  void abort() override;

 private:
  int64_t rank_;
  int64_t size_;
  at::Device device_;
  std::atomic<ncclComm*> communicator_ = nullptr;
};

}  // namespace kvcalib
