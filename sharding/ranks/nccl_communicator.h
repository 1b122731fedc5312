// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>

#include "sharding/ranks/communicator.h"
#include "sharding/ranks/rendezvous.h"

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
  void all_reduce_sum(const at::Tensor& values) override;
  void pass_on(const at::Tensor& given, const at::Tensor& taken) override;
  void barrier() override;
  void abort() override;
  void check() override;
  Interconnect interconnect() const override;

 private:
  // What calls are made on, under calls_.  Throws PeerLost once it was given up.
  ncclComm* live();
  void abort_calls();

  int64_t rank_;
  int64_t size_;
  at::Device device_;
  Rendezvous& rendezvous_;
  std::timed_mutex calls_;  // a communicator is not freed while somebody calls it
  ncclComm* communicator_ = nullptr;
};

// The same, for those who need not know the class.
std::unique_ptr<Communicator> make_nccl_communicator(const Rank& rank, const at::Device& device,
                                                     Rendezvous& rendezvous);

}  // namespace kvcalib
