// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

#include "calibrate/engine/cache_format.h"
#include "calibrate/engine/layer_profile.h"
#include "calibrate/engine/operations.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// Does to K and V what a cache of one format does to them, on the device that computes, and counts
// the codes of int8.
//
// Keys and values are views [tokens, kv_heads, head_dim] whose heads lie one behind the other,
// while tokens may be further apart: float32 on CPUs, the model's 16-bit type on GPUs.  They are
// changed in place, on the current stream.
class CacheQuantizer {
 public:
  // Throws Error where the format's scales and zeros are not of the model's shape, or are not
  // finite numbers, or a scale is not positive.
  CacheQuantizer(const CacheFormat& format, const ModelConfig& config, const at::Device& device);

  // Counts as well.
  void apply(int64_t layer, const at::Tensor& keys, const at::Tensor& values);
  // The same for a kernel that has K and V at hand, where one can: see KvHook.
  std::optional<KvCodes> codes(int64_t layer) const;
  // Count nothing.
  void apply_keys(int64_t layer, const at::Tensor& keys) const;
  void apply_values(int64_t layer, const at::Tensor& values) const;

  // Whatever was counted is forgotten.
  void reset();
  // Sets key_codes and value_codes of every layer to what was counted; to nothing for a format
  // without codes.  Waits for the device.  A profile without layers gets all of them.
  void fill_codes(StreamProfile& profile) const;

 private:
  // Of K or of V: float32 [layers, kv_heads, head_dim], undefined where the format has none.
  struct Tables {
    at::Tensor scale, zero;
  };

  at::Tensor counts_of(int64_t layer, int64_t which) const;

  Tables make_tables(const ChannelScales& scales, const char* symbol,
                     const at::Device& device) const;
  // counts: int64 [kv_heads, 3], a CodeCount each, or undefined.
  void convert(int64_t layer, const at::Tensor& tensor, const Tables& tables,
               const at::Tensor& counts) const;

  const CacheFormat::Kind kind_;
  const ModelConfig config_;
  const Tables keys_, values_;
  const at::Tensor counts_;  // [layers, K and V, kv_heads, 3]; undefined but of int8
};

}  // namespace kvcalib
