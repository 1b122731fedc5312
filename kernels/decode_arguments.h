// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/cache_blocks.h"
#include "kernels/cache_codes.h"
#include "kernels/require.h"

namespace kvcalib::kernels {

// A cache of K or of V that is read.
struct CacheSource {
  const void* cache = nullptr;   // [blocks, kv_heads, kBlockTokens, head_dim] of T or of codes
  const float* scale = nullptr;  // [kv_heads, head_dim]: of codes, else null
  const float* zero = nullptr;   // the same
};

// The arguments of attention of one query each of several sequences, its newest token's, to the
// keys that its cache holds; scores are scaled by 1 / sqrt(head_dim).  Codes are code * scale +
// zero of their channel in fp32, and all sums are fp32.  A row without keys is zeros.  A NaN in a
// query, or in a key or value that it sees, makes NaN.
template <typename T>
struct DecodeAttentionArguments {
  const T* queries = nullptr;  // [rows, query_stride]; a row is heads heads of head_dim elements
  int64_t query_stride = 0;
  CacheSource key_cache, value_cache;
  bool codes = false;
  // Of T = float and codes: what is read back of them is rounded to it; without: it is not.
  std::optional<CacheType> type = std::nullopt;
  // Key k of a row is in block block_tables[row, k / kBlockTokens], at place k % kBlockTokens.
  const int32_t* block_tables = nullptr;  // [rows, table_stride]
  int64_t table_stride = 0;
  const int32_t* keys = nullptr;  // [rows]: how many, the newest token's own included
  int64_t most_keys = 0;          // no row has more
  // Where given, the newest key and value of a row are these, whatever its cache holds for them.
  const T* own_keys = nullptr;  // [rows, own_stride]; a row is kv_heads heads
  const T* own_values = nullptr;
  int64_t own_stride = 0;
  T* out = nullptr;  // [rows, out_stride]
  int64_t out_stride = 0;
  int64_t rows = 0;
  // Query head h takes the k and v of head h / (heads / kv_heads).
  int64_t heads = 0, kv_heads = 0;
  int64_t head_dim = 0;        // at most 256
  int64_t sliding_window = 0;  // keys that a query sees, the newest ones; 0: all
  float* scratch = nullptr;    // decode_attention_scratch floats, of this namespace or of cpu

  int64_t group() const { return heads / kv_heads; }
  // A task is a kv head of a row, with the queries that share it.
  int64_t tasks() const { return rows * kv_heads; }

  void check() const {
    require(rows >= 0 && most_keys >= 0, "decode_attention: rows >= 0 and most_keys >= 0");
    require(kv_heads > 0 && heads > 0 && heads % kv_heads == 0,
            "decode_attention: heads is a multiple of kv_heads");
    require(head_dim > 0 && head_dim <= 256, "decode_attention: head_dim is at most 256");
    require(query_stride >= heads * head_dim && out_stride >= heads * head_dim,
            "decode_attention: a row's heads do not overlap the next one's");
    require(table_stride * kBlockTokens >= most_keys,
            "decode_attention: a row of block_tables holds most_keys");
    require(sliding_window >= 0, "decode_attention: sliding_window >= 0");
    require((own_keys == nullptr) == (own_values == nullptr) &&
                (own_keys == nullptr || own_stride >= kv_heads * head_dim),
            "decode_attention: own_keys and own_values are given, of kv_heads heads, or neither");
    for (const CacheSource& source : {key_cache, value_cache}) {
      require(source.cache != nullptr || rows == 0, "decode_attention: both caches are given");
      require((source.scale != nullptr) == codes && (source.zero != nullptr) == codes,
              "decode_attention: scale and zero are given for codes");
    }
    require(rows == 0 || (queries != nullptr && block_tables != nullptr && keys != nullptr &&
                          out != nullptr && scratch != nullptr),
            "decode_attention: queries, block_tables, keys, out and scratch are given");
  }
};

// Keys that are attended to together; what several of these found is combined in their order.
inline constexpr int64_t kDecodeChunk = 256;

}  // namespace kvcalib::kernels
