// SPDX-License-Identifier: Apache-2.0
#include "sharding/layer_stream.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include <chrono>

#include "sharding/formats/error.h"
#include "sharding/layer_transport.h"

namespace kvcalib {
namespace {

constexpr uint64_t kShareAlignment = 4096;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

bool is_vector(LayerTensor tensor) {
  return tensor == LayerTensor::kAttentionNorm || tensor == LayerTensor::kQkvBias ||
         tensor == LayerTensor::kOutputBias || tensor == LayerTensor::kFfnNorm;
}

// Image bytes that divide into equal aligned shares.
int64_t padded_bytes(uint64_t bytes, int64_t ranks) {
  const uint64_t unit = kShareAlignment * static_cast<uint64_t>(ranks);
  return static_cast<int64_t>((bytes + unit - 1) / unit * unit);
}

}  // namespace

at::Tensor& LayerWeights::at(LayerTensor tensor) {
  switch (tensor) {
    case LayerTensor::kAttentionNorm:
      return attention_norm;
    case LayerTensor::kQkv:
      return qkv;
    case LayerTensor::kQkvBias:
      return qkv_bias;
    case LayerTensor::kOutput:
      return output;
    case LayerTensor::kOutputBias:
      return output_bias;
    case LayerTensor::kFfnNorm:
      return ffn_norm;
    case LayerTensor::kGateUp:
      return gate_up;
    case LayerTensor::kDown:
      return down;
  }
  throw std::logic_error("LayerWeights::at: no such tensor");
}

LayerStream::LayerStream(const ModelConfig& config, PlanOfLayer plan, Communicator& communicator,
                         const at::Device& device, at::ScalarType compute_type,
                         int64_t reading_threads, Trace* trace)
    : config_(config), plan_of_layer_(std::move(plan)), communicator_(communicator), trace_(trace) {
  const c10::InferenceMode inference;
  const int64_t bytes = padded_bytes(plan_of_layer_(0).image_bytes, communicator.size());
  image_ = at::empty({bytes}, at::device(device).dtype(at::kByte));
  for (const TensorBlock& block : plan_of_layer_(0).blocks) {
    at::Tensor& tensor = weights_.at(block.tensor);
    if (tensor.defined()) continue;
    const auto [rows, columns] = tensor_shape(config_, block.tensor);
    const auto options = at::device(device).dtype(compute_type);
    tensor = is_vector(block.tensor) ? at::empty({columns}, options)
                                     : at::empty({rows, columns}, options);
  }
  transport_ = make_transport(device, reading_threads, trace);
  reader_ = std::thread([this] { read_layers(); });
}

LayerStream::~LayerStream() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  reader_.join();
}

void LayerStream::read_layers() {
  const c10::InferenceMode inference;
  try {
    for (int64_t layer = 0; layer < config_.layers; ++layer) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !image_full_ || stopping_; });
      if (stopping_) return;
      lock.unlock();
      read_layer(layer);
      lock.lock();
      image_full_ = true;
      changed_.notify_all();
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
    changed_.notify_all();
  }
}

void LayerStream::read_layer(int64_t layer) {
  const LayerPlan plan = plan_of_layer_(layer);
  const HostSpan span(trace_, "reader", "read and exchange", layer);
  const auto start = std::chrono::steady_clock::now();
  const auto share = static_cast<uint64_t>(image_.numel() / communicator_.size());
  const uint64_t first = share * static_cast<uint64_t>(communicator_.rank());
  const std::vector<ImagePiece> pieces =
      cut_image(plan, first, first + share, transport_->piece_bytes());
  transport_->fill(image_, pieces, config_.weight_type, [this] {
    const std::lock_guard lock(mutex_);
    return stopping_;
  });
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
  }
  transport_->exchange(image_, communicator_);
  const std::lock_guard lock(mutex_);
  for (const ImagePiece& piece : pieces) progress_.bytes_read += piece.bytes;
  progress_.read_seconds += seconds_since(start);
}

void LayerStream::assemble(const LayerPlan& plan) {
  const at::ScalarType stored =
      config_.weight_type == WeightType::kFloat16 ? at::kHalf : at::kBFloat16;
  const at::Tensor elements = image_.view(stored);
  for (const TensorBlock& block : plan.blocks) {
    const at::Tensor source =
        elements.as_strided({block.rows, block.columns}, {block.row_stride, 1},
                            static_cast<int64_t>(block.image_offset / 2));
    at::Tensor& whole = weights_.at(block.tensor);
    const at::Tensor target = whole.dim() == 1 ? whole.unsqueeze(0) : whole;
    target.narrow(0, block.row, block.rows).narrow(1, block.column, block.columns).copy_(source);
  }
}

const LayerWeights& LayerStream::next() {
  const auto start = std::chrono::steady_clock::now();
  std::unique_lock lock(mutex_);
  {
    const HostSpan span(trace_, "waiting for the reader", "wait", handed_out_);
    changed_.wait(lock, [this] { return image_full_ || failure_; });
  }
  progress_.waited_seconds += seconds_since(start);
  if (!image_full_) std::rethrow_exception(failure_);
  lock.unlock();

  transport_->begin_use();
  {
    const DeviceSpan span(trace_, "layers", "assemble", handed_out_);
    assemble(plan_of_layer_(handed_out_++));
  }
  transport_->end_use();

  lock.lock();
  image_full_ = false;
  changed_.notify_all();
  return weights_;
}

void LayerStream::check() const {
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
}

LayerStream::Progress LayerStream::progress() const {
  const std::lock_guard lock(mutex_);
  return progress_;
}

}  // namespace kvcalib
