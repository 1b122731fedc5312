// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "sharding/formats/layer_plan.h"
#include "sharding/ranks/communicator.h"
#include "sharding/streaming/layer_source.h"
#include "sharding/streaming/layer_transport.h"
#include "sharding/streaming/reading_cost.h"
#include "sharding/streaming/trace.h"

namespace kvcalib {

at::ScalarType scalar_type(ElementType type);

// Memory for one layer's bytes (uint8 [bytes]), not touched yet: on the CPU in huge pages where the
// system has them.
at::Tensor make_layer_image(int64_t bytes, const at::Device& device);

// What a stream hands out, and how it comes by it.
struct LayerStreamSettings {
  ModelConfig config;
  std::function<LayerPlan(int64_t layer)> plan;
  c10::Device device = c10::kCPU;
  at::ScalarType compute_type = at::kFloat;  // on a GPU: the weights' own 16-bit type
  int64_t reading_threads = 4;
  int64_t first_layer = 0;  // that it hands out
  Trace* trace = nullptr;
};

// Hands out a model's layers one after the other.  While the caller computes with one, every rank
// reads its own share of the next layer's bytes and the ranks exchange them: each byte is read once
// by one rank.  Holds two layers: the one in use and the image of the next.  (On the CPU both are
// images: widened whole, the one in use would take two thirds more memory and, where few tokens
// share its reading, most of the time.)
class LayerStream final : public LayerSource {
 public:
  // Starts reading the first layer at once.  The communicator outlives the stream.
  LayerStream(LayerStreamSettings settings, Communicator& communicator);
  ~LayerStream() override;
  LayerStream(const LayerStream&) = delete;
  LayerStream& operator=(const LayerStream&) = delete;

  // Throws what the reading threw.
  const LayerWeights& next() override;
  // On a GPU: the tensors that next() will fill.  Before its first call they hold whatever was in
  // memory.
  const LayerWeights& unfilled() const { return weights_; }
  ReadingCost cost() const { return transport_->cost(); }
  // Throws what the reading of a later layer has thrown meanwhile, if anything.
  void check() const override;
  c10::Device device() const override { return settings_.device; }

 private:
  void read_layers();
  // Both return false when nobody wants more.
  bool read_share(int64_t layer);
  bool wait_until_free(int64_t layer);
  void exchange_shares(int64_t layer);
  // The block of the image that holds layer `layer`.
  at::Tensor view(int64_t layer, const TensorBlock& block) const;
  void make_vectors(int64_t layer, const LayerPlan& plan);
  void make_matrices(int64_t layer, const LayerPlan& plan);
  const at::Tensor& image(int64_t layer) const;

  const LayerStreamSettings settings_;
  Communicator& communicator_;
  std::vector<at::Tensor> images_;  // uint8; layers take turns
  LayerWeights weights_;
  std::unique_ptr<LayerTransport> transport_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int64_t filled_;                // the bytes of layers before it have come
  int64_t released_;              // the images of layers before it may be overwritten
  bool exchange_broken_ = false;  // layers after one that was not exchanged are not whole
  bool stopping_ = false;
  std::exception_ptr failure_;
  int64_t handed_out_;  // layers before it were
  std::thread reader_;
};

}  // namespace kvcalib
