// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cache_store.h"
#include "kernels/decode_attention.h"
#include "kernels/nonfinite16.h"
#include "kernels/pair_reach.h"
#include "kernels/quantize_dequantize.h"
#include "kernels/rms_norm.h"
#include "kernels/rotary_observe.h"
#include "kernels/swiglu.h"

// The bytes that a call cannot do without: each input read once, each output written once, and what
// is updated in place both.  Not counted: the flag of values that are not finite, which a call on
// finite data never touches.
namespace kvcalib::kernels {

// Read: hidden, weight, and delta and delta_bias where given.  Written: out, and hidden when there
// is a delta.
template <typename T>
int64_t bytes_moved(const RmsNormArguments<T>& arguments) {
  const int64_t matrices = 2 + (arguments.delta != nullptr ? 2 : 0);
  const int64_t rows = 1 + (arguments.delta_bias != nullptr);
  return (matrices * arguments.tokens + rows) * arguments.width * int64_t{sizeof(T)};
}

// Read and written: q, k and the ranges; v is written only with a bias.  Read: the positions, bias,
// cosine, sine and query_scale where given.
template <typename T>
int64_t bytes_moved(const RotaryObserveArguments<T>& arguments) {
  const int64_t channels = arguments.kv_heads * arguments.head_dim;
  const bool biased = arguments.bias != nullptr;
  const int64_t values = channels * (1 + (biased || arguments.codes()));
  const int64_t row = 2 * (arguments.columns() - channels) + values;
  const int64_t elements = arguments.tokens * row + (biased ? arguments.columns() : 0);
  const int64_t angles = arguments.head_dim + (arguments.query_scale != nullptr);
  const int64_t ranges = arguments.observes() ? 2 * 4 * channels : 0;
  return elements * int64_t{sizeof(T)} + arguments.tokens * int64_t{sizeof(int32_t)} +
         (arguments.length * angles + ranges) * int64_t{sizeof(float)};
}

// Read and written: the values.  Read: scale and zero where given.
template <typename T>
int64_t bytes_moved(const QuantizeDequantizeArguments<T>& arguments) {
  const int64_t tables = (arguments.scale != nullptr) + (arguments.zero != nullptr);
  return (2 * arguments.tokens * int64_t{sizeof(T)} + tables * int64_t{sizeof(float)}) *
         arguments.columns();
}

// Read: the values, slots, scale and zero where given.  Written: the cache, and what is read back.
template <typename T>
int64_t bytes_moved(const CacheStoreArguments<T>& arguments) {
  const int64_t held = arguments.codes ? 1 : sizeof(T);
  const int64_t element = int64_t{sizeof(T)} * (arguments.read_back ? 2 : 1) + held;
  return 2 * arguments.tokens * arguments.columns() * element +
         arguments.tokens * int64_t{sizeof(int64_t)} +
         (arguments.codes ? 4 * arguments.columns() * int64_t{sizeof(float)} : 0);
}

// Read: the cache, slots, scale and zero where given.  Written: the values.
template <typename T>
int64_t bytes_moved(const CacheLoadArguments<T>& arguments) {
  const int64_t held = arguments.codes ? 1 : sizeof(T);
  return 2 * arguments.tokens * arguments.columns() * (int64_t{sizeof(T)} + held) +
         arguments.tokens * int64_t{sizeof(int64_t)} +
         (arguments.codes ? 4 * arguments.columns() * int64_t{sizeof(float)} : 0);
}

// Of rows that all have most_keys.  Read: their keys and values, and the queries.  Written: out.  A
// plain copy writes as much as it reads, so this can exceed its rate.
template <typename T>
int64_t bytes_moved(const DecodeAttentionArguments<T>& arguments) {
  const int64_t held = arguments.codes ? 1 : sizeof(T);
  return 2 * arguments.tasks() * arguments.most_keys * arguments.head_dim * held +
         2 * arguments.rows * arguments.heads * arguments.head_dim * int64_t{sizeof(T)};
}

// Read: k, positions, the used rows of cosine and sine, and the reach.  Written: the reach.
template <typename T>
int64_t bytes_moved(const PairReachArguments<T>& arguments) {
  const int64_t angles = arguments.length * arguments.head_dim;
  return arguments.tokens * (arguments.kv_heads * arguments.head_dim * int64_t{sizeof(T)} +
                             int64_t{sizeof(int32_t)}) +
         (angles + 2 * kReachDirections * arguments.pairs()) * int64_t{sizeof(float)};
}

// Read: gate and up.  Written: out.
template <typename T>
int64_t bytes_moved(const SwigluArguments<T>& arguments) {
  return 3 * arguments.tokens * arguments.width * int64_t{sizeof(T)};
}

// Read: all elements.  A plain copy also writes, so this can exceed its rate.
inline int64_t bytes_moved(const Nonfinite16Arguments& arguments) {
  return arguments.count * int64_t{sizeof(uint16_t)};
}

}  // namespace kvcalib::kernels
