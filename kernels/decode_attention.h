// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/paged_cache.h"
#include "kernels/stream.h"

namespace kvcalib::kernels {

// Keys that a sequence's attention is cut by on GPUs: whatever the others are.
inline constexpr int64_t kChunkKeys = 256;

// The arguments of attention of one query of each of some sequences over its keys in a paged cache,
// scores scaled by 1 / sqrt(head_dim), in fp32.
template <typename T>
struct DecodeAttentionArguments {
  const T* queries = nullptr;  // [rows, query_stride], heads of head_dim elements
  int64_t query_stride = 0;
  PagedCache cache;
  const int32_t* tables = nullptr;  // [rows, table_stride]: the blocks of a sequence's keys
  int64_t table_stride = 0;
  const int32_t* keys = nullptr;  // [rows]: how many there are, at least 1
  // The newest key and value of each sequence, [rows, own_stride], which then are not read back of
  // the cache; or nulls.
  const T* own_keys = nullptr;
  const T* own_values = nullptr;
  int64_t own_stride = 0;
  int64_t rows = 0;
  int64_t heads = 0;           // query head h takes the k and v of head h / (heads / kv_heads)
  int64_t most_keys = 0;       // no sequence has more
  int64_t sliding_window = 0;  // keys that are seen, the newest the last of them; 0: all
  float* scratch = nullptr;    // on GPUs: decode_attention_scratch floats
  T* out = nullptr;            // [rows, out_stride], heads of head_dim elements
  int64_t out_stride = 0;

  int64_t chunks() const { return (most_keys + kChunkKeys - 1) / kChunkKeys; }

  void check() const {
    cache.check();
    require(heads > 0 && heads % cache.kv_heads == 0,
            "decode_attention: heads is a multiple of kv_heads");
    require(rows >= 0 && most_keys > 0 && sliding_window >= 0,
            "decode_attention: every sequence has a key");
    require(query_stride >= heads * cache.head_dim && out_stride >= heads * cache.head_dim,
            "decode_attention: rows cover the heads");
    require((own_keys != nullptr) == (own_values != nullptr) &&
                (own_keys == nullptr || own_stride >= cache.columns()),
            "decode_attention: every newest key has its value");
    require(table_stride * kCacheBlockTokens >= most_keys,
            "decode_attention: tables cover the keys");
    require(
        rows == 0 || (queries != nullptr && tables != nullptr && keys != nullptr && out != nullptr),
        "decode_attention: queries, tables, keys and out are given");
  }
};

// Floats of scratch memory on a GPU.
inline int64_t decode_attention_scratch(int64_t rows, int64_t heads, int64_t head_dim,
                                        int64_t most_keys) {
  const int64_t chunks = (most_keys + kChunkKeys - 1) / kChunkKeys;
  return chunks > 1 ? rows * heads * chunks * (head_dim + 2) : 0;
}

// T: Half, Bfloat16.  Pointers are device memory.  A row's bits do not depend on the other rows.
// Throws std::invalid_argument for inconsistent arguments and for heads that are not of whole 16
// bytes in the cache, CudaError for a launch that failed.
template <typename T>
void decode_attention(const DecodeAttentionArguments<T>& arguments, Stream stream);

namespace cpu {

struct InstructionSet;

// Of floats, for tasks [first_task, last_task) of rows x kv_heads on one thread; pointers are host
// memory.  Codes are read back as cache_load does.
void decode_attention(const DecodeAttentionArguments<float>& arguments, int64_t first_task,
                      int64_t last_task, const InstructionSet& set);

}  // namespace cpu
}  // namespace kvcalib::kernels
