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

// Hands out a model's layers one after the other.  While the caller computes with one, every rank
// reads its own share of the next layer's bytes and the ranks exchange them: each byte is read once
// by one rank.  Holds two layers: the one in use and the image of the next.  (On the CPU both are
// images: widened whole, the one in use would take two thirds more memory and, where few tokens
// share its reading, most of the time.)
class LayerStream final : public LayerSource {
 public:
  using PlanOfLayer = std::function<LayerPlan(int64_t layer)>;

  // `compute_type`: float32 on the CPU, the weights' own 16-bit type on a GPU.  Starts reading the
  // first layer at once.
  LayerStream(const ModelConfig& config, PlanOfLayer plan, Communicator& communicator,
              const at::Device& device, at::ScalarType compute_type, int64_t reading_threads,
              Trace* trace = nullptr);
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

  const ModelConfig config_;
  const PlanOfLayer plan_of_layer_;
  Communicator& communicator_;
  Trace* const trace_;
  const at::TensorOptions options_;  // of what is computed with
  std::vector<at::Tensor> images_;   // uint8; layers take turns
  LayerWeights weights_;
  std::unique_ptr<LayerTransport> transport_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int64_t filled_ = 0;            // layers whose bytes have come
  int64_t released_ = 0;          // layers whose image may be overwritten
  bool exchange_broken_ = false;  // layers after one that was not exchanged are not whole
  bool stopping_ = false;
  std::exception_ptr failure_;
  int64_t handed_out_ = 0;
  std::thread reader_;
};

}  // namespace kvcalib
