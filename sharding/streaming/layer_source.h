// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include "sharding/formats/layer_plan.h"
#include "sharding/streaming/weight_matrix.h"

namespace kvcalib {

// One decoder layer.  Vectors are contiguous and in the compute type; biases are undefined where
// the model has none.  On a GPU each matrix is one contiguous tensor in the compute type; on the
// CPU it is left as the files have it, in their type and in pieces: who multiplies widens what is
// in its cache.
struct LayerWeights {
  at::Tensor attention_norm;  // [hidden]
  WeightMatrix qkv;           // [hidden, (heads + 2 kv_heads) head_dim]
  at::Tensor qkv_bias;        // [(heads + 2 kv_heads) head_dim]
  WeightMatrix output;        // [heads head_dim, hidden]
  at::Tensor output_bias;     // [hidden]
  at::Tensor ffn_norm;        // [hidden]
  WeightMatrix gate_up;       // [hidden, 2 intermediate]
  WeightMatrix down;          // [intermediate, hidden]
  at::Tensor query_norm;      // [head_dim], undefined where the model has none
  at::Tensor key_norm;        // [head_dim]
  at::Tensor gate_up_bias;    // [2 intermediate]
  at::Tensor down_bias;       // [hidden]

  // One of the vectors, one of the matrices; null where `tensor` is of the other kind.
  at::Tensor* vector(LayerTensor tensor);
  WeightMatrix* matrix(LayerTensor tensor);
};

// Hands out a model's layers one after the other.
class LayerSource {
 public:
  virtual ~LayerSource() = default;

  // The next layer's weights, valid until the call after.  On a GPU they are ordered on the current
  // stream.
  virtual const LayerWeights& next() = 0;
  // Throws when a later layer will not come.
  virtual void check() const = 0;
  // Where the weights are, and the work with them is done.
  virtual c10::Device device() const = 0;
};

}  // namespace kvcalib
