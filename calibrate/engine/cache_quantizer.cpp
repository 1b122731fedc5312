// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/cache_quantizer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <type_traits>
#include <vector>

#include "calibrate/engine/kernel_tensors.h"
#include "calibrate/engine/tasks.h"
#include "kernels/quantize_dequantize.h"
#include "kernels/rotary_observe.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

using kernels::CodeCount;

constexpr int64_t kWordsOfCount = sizeof(CodeCount) / sizeof(int64_t);
static_assert(kWordsOfCount * sizeof(int64_t) == sizeof(CodeCount));
constexpr int64_t kTokensOfTask = 32;

kernels::CacheCode code_of(CacheFormat::Kind kind) {
  switch (kind) {
    case CacheFormat::Kind::kSixteenBits:
      return kernels::CacheCode::kSixteenBits;
    case CacheFormat::Kind::kInt8:
      return kernels::CacheCode::kInt8;
    case CacheFormat::Kind::kInt8OfToken:
      return kernels::CacheCode::kInt8OfToken;
    case CacheFormat::Kind::kFloat8:
      return kernels::CacheCode::kFloat8;
  }
  throw Error("cache format: its kind is unknown");
}

at::Tensor make_counts(CacheFormat::Kind kind, const ModelConfig& config,
                       const at::Device& device) {
  const bool is_int8 = kind == CacheFormat::Kind::kInt8 || kind == CacheFormat::Kind::kInt8OfToken;
  if (!is_int8) return {};
  return at::empty({config.layers, 2, config.kv_heads, kWordsOfCount},
                   at::device(device).dtype(at::kLong));
}

// Tokens are shared among the threads, each of which counts for itself.
void convert_on_cpu(const kernels::QuantizeDequantizeArguments<float>& arguments) {
  std::mutex merging;
  share_tasks((arguments.tokens + kTokensOfTask - 1) / kTokensOfTask, [&](TaskQueue& queue) {
    std::vector<CodeCount> own(arguments.counts == nullptr ? 0 : arguments.kv_heads);
    kernels::QuantizeDequantizeArguments<float> mine = arguments;
    if (!own.empty()) mine.counts = own.data();
    while (const auto task = queue.next()) {
      const int64_t first = *task * kTokensOfTask;
      kernels::cpu::quantize_dequantize(mine, first,
                                        std::min(first + kTokensOfTask, arguments.tokens));
    }
    const std::lock_guard lock(merging);
    for (size_t head = 0; head < own.size(); ++head) arguments.counts[head].add(own[head]);
  });
}

// Of K or V of one layer; `counts` are in host memory.
std::vector<CodeUse> code_use(const at::Tensor& counts) {
  const auto* const first = reinterpret_cast<const CodeCount*>(counts.const_data_ptr<int64_t>());
  std::vector<CodeUse> use;
  for (int64_t head = 0; head < counts.size(0); ++head)
    use.push_back(
        {first[head].values, first[head].clipped, first[head].lowest, first[head].highest});
  return use;
}

}  // namespace

CacheQuantizer::CacheQuantizer(const CacheFormat& format, const ModelConfig& config,
                               const at::Device& device)
    : kind_(format.kind),
      config_(config),
      keys_(make_tables(format.keys, "K", device)),
      values_(make_tables(format.values, "V", device)),
      counts_(make_counts(format.kind, config, device)) {
  reset();
}

CacheQuantizer::Tables CacheQuantizer::make_tables(const ChannelScales& scales, const char* symbol,
                                                   const at::Device& device) const {
  const int64_t channels = config_.layers * config_.kv_heads * config_.head_dim;
  const auto make = [&](const std::vector<float>& numbers, const char* name, bool is_wanted,
                        auto is_right) -> at::Tensor {
    const int64_t expected = is_wanted ? channels : 0;
    if (static_cast<int64_t>(numbers.size()) != expected)
      throw Error(concat("cache format: ", numbers.size(), " ", name, "s of ", symbol,
                         ", expected ", expected, ", one for each of ", config_.layers, " layers, ",
                         config_.kv_heads, " kv heads and ", config_.head_dim,
                         " channels where the format has any; make it for this model"));
    for (const float number : numbers)
      if (!std::isfinite(number) || !is_right(number))
        throw Error(concat("cache format: a ", name, " of ", symbol, " is ", number,
                           ", expected a finite number, of a scale a positive one; calibrate "
                           "again"));
    if (!is_wanted) return {};
    return at::from_blob(const_cast<float*>(numbers.data()),
                         {config_.layers, config_.kv_heads, config_.head_dim}, at::kFloat)
        .clone()
        .to(device);
  };
  const bool has_zero = kind_ == CacheFormat::Kind::kInt8;
  const bool has_scale = has_zero || kind_ == CacheFormat::Kind::kFloat8;
  return {make(scales.scale, "scale", has_scale, [](float scale) { return scale > 0; }),
          make(scales.zero, "zero", has_zero, [](float) { return true; })};
}

void CacheQuantizer::apply(int64_t layer, const at::Tensor& keys, const at::Tensor& values) {
  convert(layer, keys, keys_, counts_of(layer, 0));
  convert(layer, values, values_, counts_of(layer, 1));
}

std::optional<KvCodes> CacheQuantizer::codes(int64_t layer) const {
  if (kind_ != CacheFormat::Kind::kInt8 || counts_.is_cpu() ||
      !kernels::rotary_makes_codes(config_.head_dim))
    return std::nullopt;
  const auto of_layer = [&](const Tables& tables, int64_t which) {
    return CodeTensors{tables.scale.select(0, layer), tables.zero.select(0, layer),
                       counts_of(layer, which)};
  };
  return KvCodes{of_layer(keys_, 0), of_layer(values_, 1)};
}

at::Tensor CacheQuantizer::counts_of(int64_t layer, int64_t which) const {
  return counts_.defined() ? counts_.select(0, layer).select(0, which) : at::Tensor();
}

void CacheQuantizer::apply_keys(int64_t layer, const at::Tensor& keys) const {
  convert(layer, keys, keys_, {});
}

void CacheQuantizer::apply_values(int64_t layer, const at::Tensor& values) const {
  convert(layer, values, values_, {});
}

void CacheQuantizer::convert(int64_t layer, const at::Tensor& tensor, const Tables& tables,
                             const at::Tensor& counts) const {
  const int64_t heads = config_.kv_heads, head_dim = config_.head_dim;
  const bool is_half = config_.weight_type == WeightType::kFloat16;
  TORCH_CHECK(0 <= layer && layer < config_.layers, "layer ", layer, " of ", config_.layers);
  TORCH_CHECK(tensor.dim() == 3 && tensor.size(1) == heads && tensor.size(2) == head_dim,
              "expected [tokens, ", heads, ", ", head_dim, "], got ", tensor.sizes());
  const int64_t tokens = tensor.size(0);
  TORCH_CHECK(
      (head_dim == 1 || tensor.stride(2) == 1) && (heads == 1 || tensor.stride(1) == head_dim),
      "a token's heads must be dense, got strides ", tensor.strides());
  TORCH_CHECK(tensor.is_cpu() || (tensor.scalar_type() == at::kHalf) == is_half,
              "expected the model's ", name(config_.weight_type), ", got ", tensor.scalar_type());
  const auto of_layer = [&](const at::Tensor& table) {
    return table.defined() ? pointer<const float>(table.select(0, layer)) : nullptr;
  };
  with_kernel_type(tensor, [&](auto kind) {
    using T = decltype(kind);
    const kernels::QuantizeDequantizeArguments<T> arguments{
        .values = pointer<T>(tensor),
        .tokens = tokens,
        .row_stride = tokens > 1 ? tensor.stride(0) : heads * head_dim,
        .kv_heads = heads,
        .head_dim = head_dim,
        .code = code_of(kind_),
        .type = is_half ? kernels::CacheType::kHalf : kernels::CacheType::kBfloat16,
        .scale = of_layer(tables.scale),
        .zero = of_layer(tables.zero),
        .counts =
            counts.defined() ? reinterpret_cast<CodeCount*>(pointer<int64_t>(counts)) : nullptr,
    };
    if constexpr (std::is_same_v<T, float>)
      convert_on_cpu(arguments);
    else
      kernels::quantize_dequantize(arguments, current_stream(tensor));
  });
}

void CacheQuantizer::reset() {
  if (!counts_.defined()) return;
  CodeCount none;
  const at::Tensor words = at::from_blob(&none, {kWordsOfCount}, at::kLong);
  counts_.copy_(words.expand_as(counts_));
}

void CacheQuantizer::fill_codes(StreamProfile& profile) const {
  if (profile.empty()) profile.resize(static_cast<size_t>(config_.layers));
  TORCH_CHECK(static_cast<int64_t>(profile.size()) == config_.layers, "a profile of ",
              profile.size(), " layers, expected ", config_.layers);
  const at::Tensor host = counts_.defined() ? counts_.cpu() : at::Tensor();
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    LayerProfile& found = profile[static_cast<size_t>(layer)];
    found.key_codes.clear();
    found.value_codes.clear();
    if (!host.defined()) continue;
    found.key_codes = code_use(host.select(0, layer).select(0, 0));
    found.value_codes = code_use(host.select(0, layer).select(0, 1));
  }
}

}  // namespace kvcalib
