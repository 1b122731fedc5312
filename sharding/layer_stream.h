// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "sharding/communicator.h"
#include "sharding/formats/layer_plan.h"
#include "sharding/layer_transport.h"
#include "sharding/trace.h"

namespace kvcalib {

// One decoder layer, whole, [in, out], contiguous, in the compute type.  Biases are undefined where
// the model has none.
struct LayerWeights {
  at::Tensor attention_norm;  // [hidden]
  at::Tensor qkv;             // [hidden, (heads + 2 kv_heads) head_dim]
  at::Tensor qkv_bias;        // [(heads + 2 kv_heads) head_dim]
  at::Tensor output;          // [heads head_dim, hidden]
  at::Tensor output_bias;     // [hidden]
  at::Tensor ffn_norm;        // [hidden]
  at::Tensor gate_up;         // [hidden, 2 intermediate]
  at::Tensor down;            // [intermediate, hidden]

  at::Tensor& at(LayerTensor tensor);
};

// Hands out a model's layers one after the other.  While the caller computes with one, every rank
// reads its own share of the next layer's bytes and the ranks exchange them: each byte is read once
// by one rank.  Holds two layers: the one in use and the image of the next.
class LayerStream {
 public:
  using PlanOfLayer = std::function<LayerPlan(int64_t layer)>;

  // What the reading cost so far.
  struct Progress {
    uint64_t bytes_read = 0;    // by this rank
    double read_seconds = 0;    // reading and exchanging, in the background
    double waited_seconds = 0;  // the caller in next() until the image was there
  };

  // `compute_type`: float32, or the weights' own 16-bit type.  Starts reading the first layer at
  // once.
  LayerStream(const ModelConfig& config, PlanOfLayer plan, Communicator& communicator,
              const at::Device& device, at::ScalarType compute_type, int64_t reading_threads,
              Trace* trace = nullptr);
  ~LayerStream();
  LayerStream(const LayerStream&) = delete;
  LayerStream& operator=(const LayerStream&) = delete;

  // The next layer's weights, valid until the call after.  On a GPU they are ordered on the current
  // stream.  Throws what the reading threw.
  const LayerWeights& next();
  // The tensors that next() will fill.  Before its first call they hold whatever was in memory.
  const LayerWeights& unfilled() const { return weights_; }
  Progress progress() const;
  // Throws what the reading of a later layer has thrown meanwhile, if anything.
  void check() const;

 private:
  void read_layers();
  void read_layer(int64_t layer);
  void assemble(const LayerPlan& plan);

  const ModelConfig config_;
  const PlanOfLayer plan_of_layer_;
  Communicator& communicator_;
  Trace* const trace_;
  at::Tensor image_;  // uint8, the next layer's bytes
  LayerWeights weights_;
  std::unique_ptr<LayerTransport> transport_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool image_full_ = false;
  bool stopping_ = false;
  std::exception_ptr failure_;
  Progress progress_;
  int64_t handed_out_ = 0;
  std::thread reader_;
};

}  // namespace kvcalib
