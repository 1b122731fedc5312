// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "calibrate/engine/cache_format.h"
#include "calibrate/engine/cache_quantizer.h"
#include "calibrate/engine/group_scores.h"
#include "calibrate/engine/layer_pass.h"
#include "calibrate/engine/output_head.h"
#include "calibrate/engine/stream_rows.h"
#include "calibrate/engine/stream_visitor.h"
#include "calibrate/engine/token_tree.h"
#include "sharding/formats/rotation.h"

namespace kvcalib {

// A cache to be tried: a stream of trees [first_tree, last_tree) of the whole run.
struct CacheStream {
  std::string name;
  CacheFormat format;
  int64_t first_tree = 0;
  int64_t last_tree = std::numeric_limits<int64_t>::max();
};

// What is scored, and how.
struct ScoreSettings {
  // The first is what the others are held against: in 16 bits, of all trees.
  std::vector<CacheStream> streams;
  Rotation rotation;
  int64_t length = 0;       // of the longest text, in tokens
  bool divergences = true;  // else surprises alone
  // Of trees [sample_from, ...) every so many shows what formats do to single layers, by its first
  // 512 tokens.
  int64_t sample_from = 0, sample_every = 32;
};

// What one rank has to hold at once.
struct ScoreLoad {
  int64_t tokens = 0;  // of its trees in one reading
  int64_t longest_tree = 0;
  int64_t most_keys = 0;  // of a tree that is more than one text; 0: there is none
  int64_t streams = 0;
};
// Of trees, `tokens` of them in a rank's share of a reading.
ScoreLoad score_load(std::span<const TokenTree> trees, int64_t tokens, int64_t streams);

// Bytes that a rank needs on its device.
MemoryPlan plan_score_memory(const ModelConfig& config, uint64_t stored_layer_bytes,
                             const ScoreLoad& load, const PassSettings& settings);

// Of these, what one token more takes.
uint64_t score_token_bytes(const ModelConfig& config, int64_t streams, const c10::Device& device);

// One rank's part in scoring trees of tokens under several formats of the cache.  Final norm and
// head are read once and stay.
class ScorePass {
 public:
  // Directory and communicator outlive the pass.  Throws Error when the head cannot be read.
  ScorePass(const WeightDirectory& directory, ScoreSettings settings, const PassSettings& pass,
            Communicator& communicator);

  // Reads all layers once for `trees`, which begin with number `first_tree` of the whole run; the
  // same on every rank.  Returns what this rank's own trees gave, ranks' one after the other.
  // Throws Error naming stream, layer and tensor when weights or activations are not finite.
  GroupScores run(std::span<const TokenTree> trees, int64_t first_tree,
                  const ProgressObserver& progress);

 private:
  // This rank's trees of a reading.
  struct Own {
    std::span<const TokenTree> trees;
    int64_t first_tree = 0;  // in the whole run
    std::vector<RowBlock> blocks;
  };
  Own own_part(std::span<const TokenTree> trees, int64_t first_tree) const;
  StreamRows make_rows(const CacheStream& stream, const Own& own) const;
  void embed(const Own& own, const std::vector<StreamRows>& rows) const;  // by stream
  void warm_up(StreamVisitor& visitor, const LayerPass& layers);
  std::vector<SampledTree> sampled(const Own& own) const;

  const WeightDirectory& directory_;
  const ScoreSettings settings_;
  const PassSettings pass_;
  Communicator& communicator_;
  const LayerContext context_;
  const OutputHead head_;
  std::vector<CacheQuantizer> quantizers_;  // by stream
  bool warm_ = false;
};

}  // namespace kvcalib
