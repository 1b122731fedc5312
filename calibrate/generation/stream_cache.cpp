// SPDX-License-Identifier: Apache-2.0
#include "calibrate/generation/stream_cache.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>

#include <functional>
#include <type_traits>
#include <vector>

#include "calibrate/engine/compute_type.h"
#include "calibrate/engine/kernel_tensors.h"
#include "calibrate/engine/tasks.h"
#include "kernels/decode_attention.h"
#include "kernels/instruction_set.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr int64_t kTokensOfTask = 16;  // of one thread

bool is_int8_of(const CacheFormat& format) {
  switch (format.kind) {
    case CacheFormat::Kind::kInt8:
      return true;
    case CacheFormat::Kind::kSixteenBits:
      return false;
    default:
      throw Error("generation: a cache holds 16 bits or static int8; leave other formats out");
  }
}

at::ScalarType element_type_of(bool is_int8, const ModelConfig& config, const at::Device& device) {
  return is_int8 ? at::kByte : compute_type(config, device);
}

// float32 [layers, kv_heads, head_dim] on the device; undefined where there are none.
at::Tensor table_of(const std::vector<float>& numbers, const ModelConfig& config,
                    const at::Device& device) {
  if (numbers.empty()) return {};
  TORCH_CHECK(std::ssize(numbers) == config.layers * config.kv_heads * config.head_dim,
              "stream_cache: ", numbers.size(), " scales or zeros");
  return at::from_blob(const_cast<float*>(numbers.data()),
                       {config.layers, config.kv_heads, config.head_dim}, at::kFloat)
      .clone()
      .to(device);
}

// K or V of a micro-batch: as a row of its own, though it lies among others.
int64_t row_stride(const at::Tensor& heads) {
  TORCH_CHECK(heads.dim() == 3 && heads.stride(2) == 1 && heads.stride(1) == heads.size(2),
              "stream_cache: a token's heads must be dense, got strides ", heads.strides());
  return heads.size(0) > 1 ? heads.stride(0) : heads.size(1) * heads.size(2);
}

void check_alike(const at::Tensor& keys, const at::Tensor& values, const at::Tensor& slots) {
  TORCH_CHECK(keys.sizes() == values.sizes() && keys.strides() == values.strides(),
              "stream_cache: every key has its value");
  TORCH_CHECK(slots.scalar_type() == at::kLong && slots.numel() == keys.size(0),
              "stream_cache: a slot for every token");
}

void over_tokens(int64_t tokens, const std::function<void(int64_t, int64_t)>& run) {
  at::parallel_for(0, tokens, kTokensOfTask, run);
}

// A layer of a table; null where there is none.
const float* of_layer(const at::Tensor& table, int64_t layer) {
  return table.defined() ? pointer<const float>(table.select(0, layer)) : nullptr;
}

void attend_on_cpu(const kernels::DecodeAttentionArguments<float>& arguments) {
  share_tasks(arguments.tasks(), [&](TaskQueue& queue) {
    const at::Tensor scratch =
        at::empty({kernels::cpu::decode_attention_scratch(arguments.heads, arguments.kv_heads,
                                                          arguments.head_dim)},
                  at::kFloat);
    kernels::DecodeAttentionArguments<float> own = arguments;
    own.scratch = scratch.data_ptr<float>();
    while (const auto task = queue.next())
      kernels::cpu::decode_attention(own, *task, *task + 1,
                                     kernels::cpu::fastest_instruction_set());
  });
}

template <typename T>
void attend_on_gpu(kernels::DecodeAttentionArguments<T> arguments, const at::Tensor& queries) {
  const at::Tensor scratch =
      at::empty({kernels::decode_attention_scratch(arguments.rows, arguments.heads,
                                                   arguments.head_dim, arguments.most_keys)},
                queries.options().dtype(at::kFloat));
  arguments.scratch = scratch.data_ptr<float>();
  kernels::decode_attention(arguments, current_stream(queries));
}

}  // namespace

StreamCache::StreamCache(const CacheFormat& format, const DecodingRule& rule,
                         const ModelConfig& config, const LayerRange& layers, int64_t blocks,
                         const at::Device& device)
    : is_int8_(is_int8_of(format)),
      rule_(rule),
      config_(config),
      layers_(layers),
      tables_{Tables{table_of(format.keys.scale, config, device),
                     table_of(format.keys.zero, config, device)},
              Tables{table_of(format.values.scale, config, device),
                     table_of(format.values.zero, config, device)}},
      cache_(at::empty({layers.count(), 2, blocks, config.kv_heads, kBlockTokens, config.head_dim},
                       at::device(device).dtype(element_type_of(is_int8_, config, device)))),
      pool_(blocks) {}

kernels::CacheType StreamCache::type() const {
  return config_.weight_type == WeightType::kFloat16 ? kernels::CacheType::kHalf
                                                     : kernels::CacheType::kBfloat16;
}

void* StreamCache::memory(int64_t layer, Which which) const {
  return cache_.select(0, layer - layers_.first).select(0, which).data_ptr();
}

template <typename T>
kernels::CachedTensor<T> StreamCache::cached(const at::Tensor& rows, int64_t layer,
                                             Which which) const {
  const Tables& tables = tables_[which];
  return {pointer<T>(rows), memory(layer, which), of_layer(tables.scale, layer),
          of_layer(tables.zero, layer)};
}

kernels::CacheSource StreamCache::source(int64_t layer, Which which) const {
  const Tables& tables = tables_[which];
  return {memory(layer, which), of_layer(tables.scale, layer), of_layer(tables.zero, layer)};
}

void StreamCache::store(int64_t layer, const at::Tensor& keys, const at::Tensor& values,
                        const at::Tensor& slots, bool is_newest) {
  check_alike(keys, values, slots);
  with_kernel_type(keys, [&](auto kind) {
    using T = decltype(kind);
    const kernels::CacheStoreArguments<T> arguments{
        .keys = cached<T>(keys, layer, kKeys),
        .values = cached<T>(values, layer, kValues),
        .slots = slots.const_data_ptr<int64_t>(),
        .tokens = keys.size(0),
        .row_stride = row_stride(keys),
        .kv_heads = config_.kv_heads,
        .head_dim = config_.head_dim,
        .codes = is_int8_,
        .rounding = is_int8_ && is_newest && rule_.rounds_half_away
                        ? kernels::CodeRounding::kAwayFromZero
                        : kernels::CodeRounding::kToEven,
        .read_back = !is_newest,
        .type = type()};
    if constexpr (std::is_same_v<T, float>)
      over_tokens(arguments.tokens, [&](int64_t first, int64_t last) {
        kernels::cpu::cache_store(arguments, first, last);
      });
    else
      kernels::cache_store(arguments, current_stream(keys));
  });
}

void StreamCache::store_prompt(int64_t layer, const at::Tensor& keys, const at::Tensor& values,
                               const at::Tensor& slots) {
  store(layer, keys, values, slots, /*is_newest=*/false);
}

void StreamCache::store_newest(int64_t layer, const at::Tensor& keys, const at::Tensor& values,
                               const DecodingRows& rows) {
  store(layer, keys, values, rows.slots, /*is_newest=*/true);
}

std::pair<at::Tensor, at::Tensor> StreamCache::load(int64_t layer, const at::Tensor& slots) const {
  const at::Device device = cache_.device();
  const at::TensorOptions options = at::device(device).dtype(compute_type(config_, device));
  const at::Tensor keys = at::empty({slots.numel(), config_.kv_heads, config_.head_dim}, options);
  const at::Tensor values = at::empty_like(keys);
  check_alike(keys, values, slots);
  with_kernel_type(keys, [&](auto kind) {
    using T = decltype(kind);
    const kernels::CacheLoadArguments<T> arguments{.keys = cached<T>(keys, layer, kKeys),
                                                   .values = cached<T>(values, layer, kValues),
                                                   .slots = slots.const_data_ptr<int64_t>(),
                                                   .tokens = slots.numel(),
                                                   .row_stride = row_stride(keys),
                                                   .kv_heads = config_.kv_heads,
                                                   .head_dim = config_.head_dim,
                                                   .codes = is_int8_,
                                                   .type = type()};
    if constexpr (std::is_same_v<T, float>)
      over_tokens(arguments.tokens, [&](int64_t first, int64_t last) {
        kernels::cpu::cache_load(arguments, first, last);
      });
    else
      kernels::cache_load(arguments, current_stream(keys));
  });
  return {keys, values};
}

at::Tensor StreamCache::attend(int64_t layer, const at::Tensor& queries, const at::Tensor& keys,
                               const at::Tensor& values, const DecodingRows& rows) const {
  const int64_t count = queries.size(0), width = config_.heads * config_.head_dim;
  check_alike(keys, values, rows.slots);
  TORCH_CHECK(rows.keys.scalar_type() == at::kInt && rows.keys.numel() == count &&
                  rows.tables.scalar_type() == at::kInt && rows.tables.size(0) == count,
              "stream_cache: a table and a number of keys for every row");
  const at::Tensor out = at::empty({count, width}, queries.options());
  const bool own = is_int8_ && rule_.newest_is_exact;
  with_kernel_type(queries, [&](auto kind) {
    using T = decltype(kind);
    kernels::DecodeAttentionArguments<T> arguments{
        .queries = pointer<const T>(queries),
        .query_stride = row_stride(queries),
        .key_cache = source(layer, kKeys),
        .value_cache = source(layer, kValues),
        .codes = is_int8_,
        .type = type(),
        .block_tables = rows.tables.const_data_ptr<int32_t>(),
        .table_stride = rows.tables.size(1),
        .keys = rows.keys.const_data_ptr<int32_t>(),
        .most_keys = rows.most_keys,
        .own_keys = own ? pointer<const T>(keys) : nullptr,
        .own_values = own ? pointer<const T>(values) : nullptr,
        .own_stride = row_stride(keys),
        .out = pointer<T>(out),
        .out_stride = width,
        .rows = count,
        .heads = config_.heads,
        .kv_heads = config_.kv_heads,
        .head_dim = config_.head_dim,
        .sliding_window = config_.sliding_window};
    if constexpr (std::is_same_v<T, float>)
      attend_on_cpu(arguments);
    else
      attend_on_gpu(arguments, queries);
  });
  return out;
}

uint64_t cache_block_bytes(const ModelConfig& config, int64_t layers, bool is_int8,
                           const at::Device& device) {
  const int64_t element = is_int8 ? 1 : (device.is_cpu() ? 4 : 2);
  return static_cast<uint64_t>(layers * 2 * config.kv_heads * kBlockTokens * config.head_dim *
                               element);
}

}  // namespace kvcalib
