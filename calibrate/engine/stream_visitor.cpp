// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/stream_visitor.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

int64_t most_rows(const std::vector<RowBlock>& blocks) {
  int64_t most = 0;
  for (const RowBlock& block : blocks) most = std::max(most, block.segments.rows());
  return most;
}

}  // namespace

StreamVisitor::StreamVisitor(LayerContext context, std::vector<RowBlock> blocks,
                             std::vector<VisitingStream> streams, ProfileMeter& meter)
    : context_(std::move(context)),
      blocks_(std::move(blocks)),
      streams_(std::move(streams)),
      meter_(meter),
      workspace_(context_.config, most_rows(blocks_), streams_.front().rows.hidden.options()) {
  for (const VisitingStream& stream : streams_)
    faults_.emplace_back(context_.config.layers, stream.rows.hidden.device());
}

void StreamVisitor::warm_up(const LayerWeights& weights) {
  std::set<int64_t> seen;
  for (const RowBlock& block : blocks_) {
    if (!seen.insert(block.segments.window).second) continue;
    for (size_t stream = 0; stream < streams_.size(); ++stream)
      if (streams_[stream].rows.has(block.first_row, block.segments.rows()))
        run_block(0, weights, block, stream, false);
  }
  for (const VisitingStream& stream : streams_) stream.quantizer->reset();
  for (Faults& faults : faults_) faults.reset();
}

void StreamVisitor::visit(int64_t layer, const LayerWeights& weights, const LayerSource& source) {
  const DeviceSpan span(context_.trace, "layers", "layer", layer);
  for (const RowBlock& block : blocks_) {
    int64_t before = 0;  // streams of this block
    for (size_t stream = 0; stream < streams_.size(); ++stream) {
      if (!streams_[stream].rows.has(block.first_row, block.segments.rows())) continue;
      source.check();
      // All streams enter the first layer alike, and the first one leaves its K and V as they are.
      run_block(layer, weights, block, stream, layer == 0 && before == 1);
      ++before;
    }
  }
  for (Faults& faults : faults_) faults.close(layer);
}

void StreamVisitor::finish(int64_t layer) {
  for (size_t stream = 0; stream < streams_.size(); ++stream) {
    try {
      faults_[stream].wait_for(layer);
    } catch (const Error& error) {
      throw Error(concat(streams_[stream].rows.name, ": ", error.what(),
                         stream > 0 ? ", or the scales of this stream are far too large" : ""));
    }
  }
}

void StreamVisitor::run_block(int64_t layer, const LayerWeights& weights, const RowBlock& block,
                              size_t stream, bool has_qkv) {
  const VisitingStream& own = streams_[stream];
  const int64_t rows = block.segments.rows();
  const TokenBlock tokens{
      .hidden = own.rows.rows(block.first_row, rows),
      .positions = block.segments.positions,
      .length = rows,
      .earlier_keys = {},
      .earlier_values = {},
      .segments = &block.segments,
      .has_qkv = has_qkv,
  };
  KvHook hook;
  // A bias need not lie where the kernel that rotates could make codes beside it.
  const bool rotates_alone = !has_qkv && !weights.qkv_bias.defined();
  const std::optional<KvCodes> codes = rotates_alone ? own.quantizer->codes(layer) : std::nullopt;
  if (codes) hook.codes = *codes;
  hook.function = [&](const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values) {
    if (!codes) own.quantizer->apply(layer, keys, values);
    if (stream == 0) meter_.see_attention(layer, block.first_row, queries, keys, values);
  };
  decoder_layer(context_, weights, tokens, workspace_, faults_[stream].of(layer), hook);
  if (stream > 0)
    meter_.see_hidden(layer, block.first_row, stream,
                      streams_.front().rows.rows(block.first_row, rows), tokens.hidden);
}

}  // namespace kvcalib
