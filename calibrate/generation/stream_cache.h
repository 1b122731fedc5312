// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <utility>

#include "calibrate/engine/cache_format.h"
#include "calibrate/engine/run_layers.h"
#include "calibrate/generation/block_pool.h"
#include "calibrate/statistics/decoding_rule.h"
#include "kernels/cache_store.h"
#include "kernels/decode_arguments.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// The newest tokens of sequences that decode, and what they attend to.
struct DecodingRows {
  at::Tensor slots;   // int64 [rows]: where their K and V go
  at::Tensor tables;  // int32 [rows, any]: the blocks of their sequences, in order
  at::Tensor keys;    // int32 [rows]: of their sequences, their own included
  int64_t most_keys = 0;
};

// The cache of one stream in its own type, of some layers: of each K and V [blocks, kv_heads,
// kBlockTokens, head_dim], codes of int8 or 16-bit elements (float32 on the CPU, rounded to 16
// bits).  A slot is a token's place: block kBlockTokens + its place in the block.
class StreamCache {
 public:
  // Takes the memory.  Throws Error for a format that is neither 16 bits nor int8, and as
  // CacheQuantizer does for its scales.
  StreamCache(const CacheFormat& format, const DecodingRule& rule, const ModelConfig& config,
              const LayerRange& layers, int64_t blocks, const at::Device& device);

  // Which blocks are whose.
  BlockPool& pool() { return pool_; }
  const BlockPool& pool() const { return pool_; }

  // Stores K and V [tokens, kv_heads, head_dim], whose heads lie one behind the other while tokens
  // may be further apart, at `slots` int64 [tokens].  They become what will be read back of the
  // cache, as a prompt attends to itself.
  void store_prompt(int64_t layer, const at::Tensor& keys, const at::Tensor& values,
                    const at::Tensor& slots);
  // What is read back of slots: K and V [tokens, kv_heads, head_dim] each.
  std::pair<at::Tensor, at::Tensor> load(int64_t layer, const at::Tensor& slots) const;

  // Stores the newest K and V, which stay as they are.
  void store_newest(int64_t layer, const at::Tensor& keys, const at::Tensor& values,
                    const DecodingRows& rows);
  // Attention of one query of each sequence [rows, heads, head_dim] over its keys; `keys` and
  // `values` are the newest, as they were stored.  Returns [rows, heads head_dim].  A row's bits do
  // not depend on the rows beside it.
  at::Tensor attend(int64_t layer, const at::Tensor& queries, const at::Tensor& keys,
                    const at::Tensor& values, const DecodingRows& rows) const;

 private:
  // Of all layers, float32 [layers, kv_heads, head_dim]; undefined of 16 bits.
  struct Tables {
    at::Tensor scale, zero;
  };

  enum Which : uint8_t { kKeys, kValues };

  kernels::CacheType type() const;
  void* memory(int64_t layer, Which which) const;
  // As the kernels take it; `rows`: of tokens.
  template <typename T>
  kernels::CachedTensor<T> cached(const at::Tensor& rows, int64_t layer, Which which) const;
  kernels::CacheSource source(int64_t layer, Which which) const;
  void store(int64_t layer, const at::Tensor& keys, const at::Tensor& values,
             const at::Tensor& slots, bool is_newest);

  bool is_int8_;
  DecodingRule rule_;
  ModelConfig config_;
  LayerRange layers_;
  std::array<Tables, 2> tables_;
  at::Tensor cache_;  // [its layers, K and V, blocks, kv_heads, kBlockTokens, head_dim]
  BlockPool pool_;
};

// Bytes of a block of so many layers.
uint64_t cache_block_bytes(const ModelConfig& config, int64_t layers, bool is_int8,
                           const at::Device& device);

}  // namespace kvcalib
