// SPDX-License-Identifier: Apache-2.0
#include <stdexcept>

#include "kernels/cache_store.h"
#include "kernels/decode_attention.h"
#include "kernels/element_types.h"
#include "kernels/head_norm.h"
#include "kernels/pair_reach.h"
#include "kernels/quantize_dequantize.h"
#include "kernels/rms_norm.h"
#include "kernels/rotary_observe.h"
#include "kernels/score_rows.h"
#include "kernels/squared_differences.h"
#include "kernels/swiglu.h"

namespace kvcalib::kernels {
namespace {

[[noreturn]] void refuse() { throw std::logic_error("a kernel on a GPU, built without CUDA"); }

}  // namespace

template <typename T>
void cache_load(const CacheLoadArguments<T>& /*arguments*/, Stream /*stream*/) {
  refuse();
}
template <typename T>
void cache_store(const CacheStoreArguments<T>& /*arguments*/, Stream /*stream*/) {
  refuse();
}
template <typename T>
void decode_attention(const DecodeAttentionArguments<T>& /*arguments*/, Stream /*stream*/) {
  refuse();
}
template <typename T>
void head_norm(const HeadNormArguments<T>& /*arguments*/, Stream /*stream*/) {
  refuse();
}
template <typename T>
void pair_reach(const PairReachArguments<T>& /*arguments*/, Stream /*stream*/) {
  refuse();
}
template <typename T>
void quantize_dequantize(const QuantizeDequantizeArguments<T>& /*arguments*/, Stream /*stream*/) {
  refuse();
}
template <typename T>
void rms_norm(const RmsNormArguments<T>& /*arguments*/, Stream /*stream*/) {
  refuse();
}
template <typename T>
void rotary_observe(const RotaryObserveArguments<T>& /*arguments*/, Stream /*stream*/) {
  refuse();
}
void score_rows(const ScoreRowsArguments& /*arguments*/, Stream /*stream*/) { refuse(); }
void diverge_rows(const DivergeRowsArguments& /*arguments*/, Stream /*stream*/) { refuse(); }
void surprise(const SurpriseArguments& /*arguments*/, Stream /*stream*/) { refuse(); }
template <typename T>
void squared_differences(const SquaredDifferencesArguments<T>& /*arguments*/, Stream /*stream*/) {
  refuse();
}
template <typename T>
void swiglu(const SwigluArguments<T>& /*arguments*/, Stream /*stream*/) {
  refuse();
}

template void cache_load(const CacheLoadArguments<Half>&, Stream);
template void cache_load(const CacheLoadArguments<Bfloat16>&, Stream);
template void cache_store(const CacheStoreArguments<Half>&, Stream);
template void cache_store(const CacheStoreArguments<Bfloat16>&, Stream);
template void decode_attention(const DecodeAttentionArguments<Half>&, Stream);
template void decode_attention(const DecodeAttentionArguments<Bfloat16>&, Stream);
template void head_norm(const HeadNormArguments<Half>&, Stream);
template void head_norm(const HeadNormArguments<Bfloat16>&, Stream);
template void pair_reach(const PairReachArguments<Half>&, Stream);
template void pair_reach(const PairReachArguments<Bfloat16>&, Stream);
template void quantize_dequantize(const QuantizeDequantizeArguments<Half>&, Stream);
template void quantize_dequantize(const QuantizeDequantizeArguments<Bfloat16>&, Stream);
template void rms_norm(const RmsNormArguments<Half>&, Stream);
template void rms_norm(const RmsNormArguments<Bfloat16>&, Stream);
template void rotary_observe(const RotaryObserveArguments<Half>&, Stream);
template void rotary_observe(const RotaryObserveArguments<Bfloat16>&, Stream);
template void squared_differences(const SquaredDifferencesArguments<Half>&, Stream);
template void squared_differences(const SquaredDifferencesArguments<Bfloat16>&, Stream);
template void swiglu(const SwigluArguments<Half>&, Stream);
template void swiglu(const SwigluArguments<Bfloat16>&, Stream);

}  // namespace kvcalib::kernels
