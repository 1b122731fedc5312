// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/nccl_communicator.h"

#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAGuard.h>
#include <nccl.h>

#include <chrono>
#include <cstring>
#include <utility>

#include "sharding/files/error.h"
#include "sharding/ranks/nccl_log.h"

namespace kvcalib {
namespace {

// When a peer is gone, the watch knows which one.
void require_success(ncclResult_t result, const char* call, PeerWatch& peers) {
  if (result == ncclSuccess || result == ncclInProgress) return;
  if (result == ncclRemoteError) peers.explain();
  const std::string reason = ncclGetLastError(nullptr);
  throw Error(concat(call, ": ", ncclGetErrorString(result), "; ",
                     reason.empty() ? "NCCL_DEBUG=INFO tells more" : reason));
}

#define NCCL_CHECK(call) require_success((call), #call, rendezvous_.peers())

int library_version() {
  int version = 0;
  if (ncclGetVersion(&version) != ncclSuccess) throw Error("NCCL: tells no version");
  return version;
}

// A second, older libnccl in the process fails in ways that nobody can read.
void check_library() {
  const int version = library_version();
  if (version / 10000 != NCCL_VERSION_CODE / 10000)
    throw Error(concat("NCCL: the loaded library is version ", version,
                       ", the program was built for ", NCCL_VERSION_CODE,
                       "; take the other libnccl off LD_LIBRARY_PATH"));
}

}  // namespace

NcclCommunicator::NcclCommunicator(const Rank& rank, const at::Device& device,
                                   Rendezvous& rendezvous)
    : rank_(rank.index), size_(rank.world), device_(device), rendezvous_(rendezvous) {
  check_library();
  ncclUniqueId id;
  if (rank_ == 0) {
    NCCL_CHECK(ncclGetUniqueId(&id));
    rendezvous.set("nccl-id", std::string_view(id.internal, sizeof(id.internal)));
  } else {
    const std::string text = rendezvous.get("nccl-id");
    if (text.size() != sizeof(id.internal)) throw Error("NCCL: the id of rank 0 is damaged");
    std::memcpy(id.internal, text.data(), sizeof(id.internal));
  }
  const c10::cuda::CUDAGuard guard(device_);
  NCCL_CHECK(
      ncclCommInitRank(&communicator_, static_cast<int>(size_), id, static_cast<int>(rank_)));
  rendezvous_.peers().when_lost([this] { abort_calls(); });
}

NcclCommunicator::~NcclCommunicator() {
  rendezvous_.peers().when_lost({});
  // Destroying waits for the peers, who may be gone when an exception is on its way.
  if (std::uncaught_exceptions() > 0) abort();
  if (communicator_ != nullptr) ncclCommDestroy(communicator_);
}

ncclComm* NcclCommunicator::live() {
  if (communicator_ == nullptr) rendezvous_.peers().explain();
  return communicator_;
}

void NcclCommunicator::abort() {
  rendezvous_.peers().give_up();
  abort_calls();
}

void NcclCommunicator::check() {
  const std::lock_guard lock(calls_);
  ncclResult_t state = ncclSuccess;
  NCCL_CHECK(ncclCommGetAsyncError(live(), &state));
  require_success(state, "between the GPUs", rendezvous_.peers());
}

Interconnect NcclCommunicator::interconnect() const {
  const int version = library_version();
  return interconnect_from_log(
      concat("NCCL ", version / 10000, ".", version / 100 % 100, ".", version % 100), nccl_log());
}

// A call that waits for a peer keeps the communicator; then the watch ends the process.
void NcclCommunicator::abort_calls() {
  const std::unique_lock lock(calls_, std::chrono::seconds(1));
  if (!lock) return;
  if (ncclComm* const communicator = std::exchange(communicator_, nullptr))
    ncclCommAbort(communicator);
}

void NcclCommunicator::all_gather(const at::Tensor& bytes) {
  const c10::cuda::CUDAGuard guard(device_);
  auto* const data = static_cast<std::byte*>(bytes.data_ptr());
  const size_t share = static_cast<size_t>(bytes.numel() / size_);
  const std::lock_guard lock(calls_);
  NCCL_CHECK(ncclAllGather(data + static_cast<size_t>(rank_) * share, data, share, ncclUint8,
                           live(), at::cuda::getCurrentCUDAStream()));
}

void NcclCommunicator::all_reduce_minimum(const at::Tensor& values) {
  const c10::cuda::CUDAGuard guard(device_);
  float* const data = values.data_ptr<float>();
  const std::lock_guard lock(calls_);
  NCCL_CHECK(ncclAllReduce(data, data, static_cast<size_t>(values.numel()), ncclFloat32, ncclMin,
                           live(), at::cuda::getCurrentCUDAStream()));
}

void NcclCommunicator::all_reduce_sum(const at::Tensor& values) {
  const c10::cuda::CUDAGuard guard(device_);
  auto* const data = values.data_ptr<int64_t>();
  const std::lock_guard lock(calls_);
  NCCL_CHECK(ncclAllReduce(data, data, static_cast<size_t>(values.numel()), ncclInt64, ncclSum,
                           live(), at::cuda::getCurrentCUDAStream()));
}

void NcclCommunicator::pass_on(const at::Tensor& given, const at::Tensor& taken) {
  const c10::cuda::CUDAGuard guard(device_);
  const auto bytes = static_cast<size_t>(given.numel());
  const auto stream = at::cuda::getCurrentCUDAStream();
  const int next = static_cast<int>(rank_) + 1, previous = static_cast<int>(rank_) - 1;
  const std::lock_guard lock(calls_);
  ncclComm* const communicator = live();
  NCCL_CHECK(ncclGroupStart());
  ncclResult_t sent = ncclSuccess, received = ncclSuccess;
  if (next < size_) sent = ncclSend(given.data_ptr(), bytes, ncclUint8, next, communicator, stream);
  if (previous >= 0)
    received = ncclRecv(taken.data_ptr(), bytes, ncclUint8, previous, communicator, stream);
  NCCL_CHECK(ncclGroupEnd());
  NCCL_CHECK(sent);
  NCCL_CHECK(received);
}

void NcclCommunicator::barrier() {
  const c10::cuda::CUDAGuard guard(device_);
  const at::Tensor token = at::zeros({1}, at::device(device_).dtype(at::kFloat));
  all_reduce_minimum(token);
  at::cuda::getCurrentCUDAStream().synchronize();
  check();
}

std::unique_ptr<Communicator> make_nccl_communicator(const Rank& rank, const at::Device& device,
                                                     Rendezvous& rendezvous) {
  return std::make_unique<NcclCommunicator>(rank, device, rendezvous);
}

}  // namespace kvcalib
