// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/score_pass.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <array>
#include <utility>

#include "calibrate/engine/compute_type.h"
#include "calibrate/engine/embedding.h"
#include "calibrate/engine/stream_scores.h"
#include "calibrate/engine/stream_visitor.h"
#include "calibrate/engine/tree_blocks.h"
#include "sharding/streaming/device.h"

namespace kvcalib {
namespace {

constexpr const char* kTrack = "layers";

int64_t micro_batch(const PassSettings& settings) {
  return settings.micro_batch_tokens > 0 ? settings.micro_batch_tokens
                                         : default_micro_batch(settings.device);
}

// GPUs gather the keys that the trees of a block attend to.
BlockLimits block_limits(const PassSettings& settings) {
  constexpr int64_t kKeysPerToken = 4;
  BlockLimits most{.tokens = micro_batch(settings)};
  if (settings.device.is_cuda()) most.keys = kKeysPerToken * most.tokens;
  return most;
}

// Of `count` trees that begin with number `first`: where those begin that a stream takes, and end.
std::pair<int64_t, int64_t> taken(const CacheStream& stream, int64_t first, int64_t count) {
  const int64_t begin = std::clamp<int64_t>(stream.first_tree - first, 0, count);
  return {begin, std::clamp<int64_t>(stream.last_tree - first, begin, count)};
}

at::TensorOptions hidden_options(const ModelConfig& config, const at::Device& device) {
  return at::device(device).dtype(compute_type(config, device));
}

bool is_changed(const CacheStream& stream) {
  return stream.format.kind != CacheFormat::Kind::kSixteenBits;
}

// What a sample shows is seen well before all of a long text is.
constexpr int64_t kSampledTokens = 512;

// A tree's first tokens, which hold the parents of all their nodes.
TokenTree beginning_of(const TokenTree& tree, int64_t tokens) {
  TokenTree beginning;
  for (TokenTree::Node node : tree.nodes) {
    node.count = std::min(node.count, tokens - node.first);
    if (node.count <= 0) break;
    beginning.nodes.push_back(node);
  }
  const auto last = std::min(tokens, tree.tokens());
  beginning.ids.assign(tree.ids.begin(), tree.ids.begin() + last);
  beginning.scored.assign(tree.scored.begin(), tree.scored.begin() + last);
  return beginning;
}

}  // namespace

ScoreLoad score_load(std::span<const TokenTree> trees, int64_t tokens, int64_t streams) {
  ScoreLoad load{.tokens = tokens, .streams = streams};
  for (const TokenTree& tree : trees) {
    load.longest_tree = std::max(load.longest_tree, tree.tokens());
    if (tree.nodes.size() > 1) load.most_keys = std::max(load.most_keys, keys_of(tree));
  }
  return load;
}

MemoryPlan plan_score_memory(const ModelConfig& config, uint64_t stored_layer_bytes,
                             const ScoreLoad& load, const PassSettings& settings) {
  // As windows of one micro-batch, of which a rank holds so many.
  const int64_t block = std::max(micro_batch(settings), load.longest_tree);
  PassSettings one_block = settings;
  one_block.micro_batch_tokens = block;
  MemoryPlan plan = plan_memory(config, stored_layer_bytes, 1, block, 1, one_block);
  plan.activations =
      static_cast<uint64_t>(load.tokens) * score_token_bytes(config, load.streams, settings.device);
  if (settings.device.is_cuda() && load.most_keys > 0)  // K and V as they are gathered
    plan.micro_batch +=
        static_cast<uint64_t>(std::max(block_limits(settings).keys, load.most_keys) *
                              config.kv_heads * config.head_dim * 4);
  plan.head =
      static_cast<uint64_t>(output_head_bytes(config, settings.device.is_cpu(), load.streams));
  return plan;
}

uint64_t score_token_bytes(const ModelConfig& config, int64_t streams, const c10::Device& device) {
  const int64_t element = device.is_cpu() ? 4 : 2;
  return static_cast<uint64_t>(streams * config.hidden * element);
}

ScorePass::ScorePass(const WeightDirectory& directory, ScoreSettings settings,
                     const PassSettings& pass, Communicator& communicator)
    : directory_(directory),
      settings_(std::move(settings)),
      pass_(pass),
      communicator_(communicator),
      context_([&] {
        const c10::InferenceMode inference;
        return make_layer_context(directory.config(), settings_.rotation, settings_.length,
                                  pass.device, pass.trace);
      }()),
      head_(directory, pass.device, pass.trace) {
  TORCH_CHECK(!is_changed(settings_.streams.front()), "score_pass: the first stream has 16 bits");
  const c10::InferenceMode inference;
  for (const CacheStream& stream : settings_.streams)
    quantizers_.emplace_back(stream.format, directory.config(), pass.device);
}

ScorePass::Own ScorePass::own_part(std::span<const TokenTree> trees, int64_t first_tree) const {
  const auto count = static_cast<int64_t>(trees.size());
  std::vector<int64_t> bounds;
  for (const CacheStream& stream : settings_.streams) {
    const auto [begin, end] = taken(stream, first_tree, count);
    bounds.insert(bounds.end(), {begin, end});
  }
  const std::vector<TreeBlock> blocks = tree_blocks(trees, block_limits(pass_), bounds);
  const auto [first, last] = blocks_of_rank(blocks, communicator_.rank(), communicator_.size());
  Own own;
  if (first == last) return own;
  const int64_t first_own = blocks[static_cast<size_t>(first)].first;
  const int64_t last_own = blocks[static_cast<size_t>(last - 1)].last;
  own.trees =
      trees.subspan(static_cast<size_t>(first_own), static_cast<size_t>(last_own - first_own));
  own.first_tree = first_tree + first_own;
  int64_t row = 0;
  for (int64_t i = first; i < last; ++i) {
    const TreeBlock& block = blocks[static_cast<size_t>(i)];
    std::vector<const TokenTree*> members;
    for (int64_t tree = block.first; tree < block.last; ++tree)
      members.push_back(&trees[static_cast<size_t>(tree)]);
    own.blocks.push_back({row, make_segments(members, pass_.device)});
    row += block.tokens;
  }
  return own;
}

StreamRows ScorePass::make_rows(const CacheStream& stream, const Own& own) const {
  const ModelConfig& config = directory_.config();
  const auto [begin, end] = taken(stream, own.first_tree, static_cast<int64_t>(own.trees.size()));
  const int64_t first = tokens_of(own.trees.first(static_cast<size_t>(begin)));
  const int64_t last = tokens_of(own.trees.first(static_cast<size_t>(end)));
  return {stream.name, first,
          at::empty({last - first, config.hidden}, hidden_options(config, pass_.device))};
}

void ScorePass::embed(const Own& own, const std::vector<StreamRows>& rows) const {
  const HostSpan span(pass_.trace, kTrack, "embedding");
  std::vector<int32_t> ids;
  for (const TokenTree& tree : own.trees) ids.insert(ids.end(), tree.ids.begin(), tree.ids.end());
  embed_tokens(directory_, ids, rows.front().hidden);
  for (size_t stream = 1; stream < rows.size(); ++stream)
    rows[stream].hidden.copy_(rows.front().rows(rows[stream].first, rows[stream].hidden.size(0)));
}

std::vector<SampledTree> ScorePass::sampled(const Own& own) const {
  std::vector<SampledTree> result;
  int64_t row = 0;
  for (size_t i = 0; i < own.trees.size(); ++i) {
    const int64_t tree = own.first_tree + static_cast<int64_t>(i);
    if (tree >= settings_.sample_from &&
        (tree - settings_.sample_from) % settings_.sample_every == 0) {
      const TokenTree sample = beginning_of(own.trees[i], kSampledTokens);
      const TokenTree* const alone = &sample;
      result.push_back({tree, row, make_segments({&alone, 1}, pass_.device)});
      // As any tree: of windows it would be one length more to prepare a kernel for.
      result.back().segments.window = 0;
    }
    row += own.trees[i].tokens();
  }
  return result;
}

// Once: the kernels stay loaded for later readings.
void ScorePass::warm_up(StreamVisitor& visitor, const LayerPass& layers) {
  if (std::exchange(warm_, true)) return;
  const HostSpan span(pass_.trace, kTrack, "warm-up");
  visitor.warm_up(layers.unfilled());
  const TokenTree tree{{0, 0}, {{-1, 0, 2}}, {0, 1}};
  const ModelConfig& config = directory_.config();
  const StreamRows zeros{"", 0,
                         at::zeros({2, config.hidden}, hidden_options(config, pass_.device))};
  StreamScorer(head_, {&tree, 1}, std::array{zeros, zeros}, settings_.divergences).scores();
  synchronize_gpu(pass_.device);
}

GroupScores ScorePass::run(std::span<const TokenTree> trees, int64_t first_tree,
                           const ProgressObserver& progress) {
  const c10::InferenceMode inference;
  LayerPass layers(directory_, pass_, communicator_);
  const Own own = own_part(trees, first_tree);
  std::vector<StreamRows> rows;
  std::vector<const CacheQuantizer*> profiled;
  std::vector<VisitingStream> streams;
  for (size_t i = 0; i < settings_.streams.size(); ++i) {
    const CacheStream& stream = settings_.streams[i];
    profiled.push_back(is_changed(stream) ? &quantizers_[i] : nullptr);
    rows.push_back(make_rows(stream, own));
    streams.push_back({&quantizers_[i], rows.back()});
    quantizers_[i].reset();
  }
  ProfileMeter meter(directory_.config(), sampled(own), std::move(profiled), pass_.device);
  StreamVisitor visitor(context_, own.blocks, std::move(streams), meter);
  if (pass_.device.is_cuda()) warm_up(visitor, layers);
  embed(own, rows);
  const StreamScorer scorer(head_, own.trees, rows, settings_.divergences);
  layers.run(visitor, tokens_of(trees), progress);
  GroupScores scores{{}, meter.errors(), {}};
  {
    const HostSpan span(pass_.trace, kTrack, "head and scores");
    scores.trees = scorer.scores();
  }
  for (const CacheQuantizer& quantizer : quantizers_)
    quantizer.fill_codes(scores.profiles.emplace_back());
  return scores;
}

}  // namespace kvcalib
