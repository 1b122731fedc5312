// SPDX-License-Identifier: Apache-2.0
#include "sharding/streaming/layer_stream.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <sys/mman.h>

#include <algorithm>
#include <future>

namespace kvcalib {
namespace {

constexpr uint64_t kShareAlignment = 4096;

// Image bytes that divide into equal aligned shares.
int64_t padded_bytes(uint64_t bytes, int64_t ranks) {
  const uint64_t unit = kShareAlignment * static_cast<uint64_t>(ranks);
  return static_cast<int64_t>((bytes + unit - 1) / unit * unit);
}

}  // namespace

// Columns of a wide matrix are far apart: with small pages looking up their addresses costs more
// than reading them.
at::Tensor make_layer_image(int64_t bytes, const at::Device& device) {
  at::Tensor image = at::empty({bytes}, at::device(device).dtype(at::kByte));
  if (device.is_cpu()) {
    constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
    const auto begin = reinterpret_cast<uintptr_t>(image.data_ptr());
    const uintptr_t first = (begin + kHugePage - 1) / kHugePage * kHugePage;
    const uintptr_t last = (begin + static_cast<uintptr_t>(bytes)) / kHugePage * kHugePage;
    if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
  }
  return image;
}

at::ScalarType scalar_type(ElementType type) {
  switch (type) {
    case ElementType::kFloat16:
      return at::kHalf;
    case ElementType::kBFloat16:
      return at::kBFloat16;
    case ElementType::kFloat32:
      return at::kFloat;
  }
  throw std::logic_error("scalar_type: no such type");
}

at::Tensor* LayerWeights::vector(LayerTensor tensor) {
  switch (tensor) {
    case LayerTensor::kAttentionNorm:
      return &attention_norm;
    case LayerTensor::kQkvBias:
      return &qkv_bias;
    case LayerTensor::kOutputBias:
      return &output_bias;
    case LayerTensor::kFfnNorm:
      return &ffn_norm;
    case LayerTensor::kQueryNorm:
      return &query_norm;
    case LayerTensor::kKeyNorm:
      return &key_norm;
    case LayerTensor::kGateUpBias:
      return &gate_up_bias;
    case LayerTensor::kDownBias:
      return &down_bias;
    default:
      return nullptr;
  }
}

WeightMatrix* LayerWeights::matrix(LayerTensor tensor) {
  switch (tensor) {
    case LayerTensor::kQkv:
      return &qkv;
    case LayerTensor::kOutput:
      return &output;
    case LayerTensor::kGateUp:
      return &gate_up;
    case LayerTensor::kDown:
      return &down;
    default:
      return nullptr;
  }
}

LayerStream::LayerStream(LayerStreamSettings settings, Communicator& communicator)
    : settings_(std::move(settings)),
      communicator_(communicator),
      filled_(settings_.first_layer),
      released_(settings_.first_layer),
      handed_out_(settings_.first_layer) {
  TORCH_CHECK(0 <= settings_.first_layer && settings_.first_layer < settings_.config.layers,
              "LayerStream: there is no layer ", settings_.first_layer);
  const c10::InferenceMode inference;
  const c10::Device& device = settings_.device;
  const LayerPlan first = settings_.plan(settings_.first_layer);
  uint64_t image_bytes = first.image_bytes;  // layers may be stored in different types
  for (int64_t layer = settings_.first_layer + 1; layer < settings_.config.layers; ++layer)
    image_bytes = std::max(image_bytes, settings_.plan(layer).image_bytes);
  const int64_t bytes = padded_bytes(image_bytes, communicator.size());
  for (int i = 0; i < (device.is_cpu() ? 2 : 1); ++i)
    images_.push_back(make_layer_image(bytes, device));
  const at::TensorOptions options = at::device(device).dtype(settings_.compute_type);
  for (const TensorBlock& block : first.blocks) {
    const auto [rows, columns] = tensor_shape(settings_.config, block.tensor);
    if (at::Tensor* const vector = weights_.vector(block.tensor); vector != nullptr) {
      if (!vector->defined()) *vector = at::empty({columns}, options);
    } else if (WeightMatrix* const matrix = weights_.matrix(block.tensor);
               device.is_cuda() && matrix->columns() == 0) {
      *matrix = WeightMatrix(at::empty({rows, columns}, options));
    }
  }
  transport_ = device.is_cuda()
                   ? make_cuda_transport(device, settings_.reading_threads, settings_.trace)
                   : make_host_transport(settings_.reading_threads, settings_.trace);
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
    // While the ranks exchange one layer, the next is read as far as there is memory for it.
    std::future<void> exchange;
    for (int64_t layer = settings_.first_layer; layer < settings_.config.layers; ++layer) {
      const bool complete = read_share(layer);
      if (exchange.valid()) exchange.get();
      if (!complete) return;
      exchange = std::async(std::launch::async, [this, layer] { exchange_shares(layer); });
    }
    if (exchange.valid()) exchange.get();
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
    changed_.notify_all();
  }
}

bool LayerStream::wait_until_free(int64_t layer) {
  std::unique_lock lock(mutex_);
  const auto is_free = [&] { return layer - released_ < static_cast<int64_t>(images_.size()); };
  changed_.wait(lock, [&] { return is_free() || stopping_ || failure_; });
  return !stopping_ && !failure_;
}

bool LayerStream::read_share(int64_t layer) {
  const LayerPlan plan = settings_.plan(layer);
  const HostSpan span(settings_.trace, "reader", "read", layer);
  const at::Tensor& image = this->image(layer);
  const auto share = static_cast<uint64_t>(image.numel() / communicator_.size());
  const uint64_t first = share * static_cast<uint64_t>(communicator_.rank());
  const std::vector<ImagePiece> pieces =
      cut_image(plan, first, first + share, transport_->piece_bytes());
  const auto stopped = [this] {
    const std::lock_guard lock(mutex_);
    return stopping_ || failure_ != nullptr;
  };
  transport_->fill(
      image, pieces, [&] { return wait_until_free(layer); }, stopped);
  return !stopped();
}

void LayerStream::exchange_shares(int64_t layer) {
  const c10::InferenceMode inference;  // thread-local
  std::exception_ptr failure;
  try {
    transport_->exchange(image(layer), communicator_);
  } catch (...) {
    failure = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  exchange_broken_ = exchange_broken_ || failure;
  if (failure && !failure_) failure_ = failure;
  if (!exchange_broken_) filled_ = layer + 1;
  changed_.notify_all();
}

const at::Tensor& LayerStream::image(int64_t layer) const {
  return images_[static_cast<size_t>(layer) % images_.size()];
}

at::Tensor LayerStream::view(int64_t layer, const TensorBlock& block) const {
  const uint64_t bytes = element_bytes(block.type);
  return image(layer)
      .view(scalar_type(block.type))
      .as_strided({block.rows, block.columns}, {block.row_stride, block.column_stride},
                  static_cast<int64_t>(block.image_offset / bytes));
}

void LayerStream::make_vectors(int64_t layer, const LayerPlan& plan) {
  const at::ScalarType type = scalar_type(element_type(settings_.config.weight_type));
  for (const TensorBlock& block : plan.blocks) {
    at::Tensor* const vector = weights_.vector(block.tensor);
    if (vector == nullptr) continue;
    const int64_t last = block.column + (block.columns - 1) * block.column_step;
    vector->slice(0, block.column, last + 1, block.column_step)
        .copy_(view(layer, block).squeeze(0).to(type));
  }
}

void LayerStream::make_matrices(int64_t layer, const LayerPlan& plan) {
  for (const LayerTensor tensor :
       {LayerTensor::kQkv, LayerTensor::kOutput, LayerTensor::kGateUp, LayerTensor::kDown}) {
    const auto [rows, columns] = tensor_shape(settings_.config, tensor);
    std::vector<WeightBlock> blocks;
    for (const TensorBlock& block : plan.blocks) {
      if (block.tensor == tensor)
        blocks.push_back({block.row, block.column, block.column_step, view(layer, block)});
    }
    const WeightMatrix stored(
        rows, columns, scalar_type(element_type(settings_.config.weight_type)), std::move(blocks));
    if (settings_.device.is_cpu())
      *weights_.matrix(tensor) = stored;
    else
      stored.copy_columns(0, columns, weights_.matrix(tensor)->whole());
  }
}

const LayerWeights& LayerStream::next() {
  transport_->begin_wait();
  std::unique_lock lock(mutex_);
  const int64_t layer = handed_out_++;
  released_ = layer;  // the caller is through with what it had
  changed_.notify_all();
  {
    const HostSpan span(settings_.trace, "waiting for the reader", "wait", layer);
    changed_.wait(lock, [&] { return filled_ > layer || failure_; });
  }
  if (filled_ <= layer) std::rethrow_exception(failure_);
  lock.unlock();

  transport_->begin_use();
  {
    const DeviceSpan span(settings_.trace, "layers", "assemble", layer);
    const LayerPlan plan = settings_.plan(layer);
    make_vectors(layer, plan);
    make_matrices(layer, plan);
  }
  transport_->end_use();

  if (settings_.device.is_cuda()) {  // the image has been copied out of
    lock.lock();
    released_ = handed_out_;
    changed_.notify_all();
  }
  return weights_;
}

void LayerStream::check() const {
  const std::lock_guard lock(mutex_);
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace kvcalib
