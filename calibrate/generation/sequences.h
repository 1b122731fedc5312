// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "calibrate/engine/token_tree.h"
#include "calibrate/generation/continuation.h"
#include "calibrate/generation/generation_plan.h"
#include "calibrate/generation/generation_step.h"
#include "calibrate/generation/stream_cache.h"

namespace kvcalib {

// A prompt on its way in one stream.
struct Sequence {
  size_t prompt = 0, stream = 0;
  std::vector<int32_t> blocks;  // of its cache, in order
  int64_t cached = 0;           // tokens in it
  Continuation continuation;
  bool finished = false;

  // Of a token's place in the sequence.
  int64_t slot(int64_t place) const {
    return blocks[static_cast<size_t>(place / kBlockTokens)] * kBlockTokens + place % kBlockTokens;
  }
};

// The sequences of one stream: prompts wait, the longest first, enter where there is room in the
// cache, and leave.
class StreamSequences {
 public:
  // `stream`: its number.  The prompts outlive the sequences.
  StreamSequences(size_t stream, StreamCache cache, std::span<const GenerationPrompt> prompts,
                  const GenerationPlan& plan);

  StreamCache& cache() { return cache_; }
  const std::vector<std::unique_ptr<Sequence>>& active() const { return active_; }
  // int64: where the tokens are that all prompts begin with.
  const std::vector<int64_t>& prefix_slots() const { return prefix_slots_; }

  // Whether so many have left, or none is there, that it is worth to let others in.
  bool wants_more() const;
  // The prompt that would enter next; null where none waits or there is no room for it.
  const GenerationPrompt* next() const;
  // It enters, with blocks for all of its continuation; its tokens are not in the cache yet.
  Sequence& enter();
  // Those that are finished leave.
  std::vector<std::unique_ptr<Sequence>> take_finished();

 private:
  int64_t own_blocks(const GenerationPrompt& prompt) const;

  const size_t stream_;
  StreamCache cache_;
  const std::span<const GenerationPrompt> prompts_;
  const int64_t most_active_;
  std::vector<size_t> waiting_;  // the next is the last
  std::vector<std::unique_ptr<Sequence>> active_;
  std::vector<int32_t> prefix_blocks_;
  std::vector<int64_t> prefix_slots_;
};

// Rows of a step, one stream's behind the other's.
struct StepBatch {
  std::vector<int32_t> ids;          // by row
  std::vector<Sequence*> sequences;  // that get a token of it
  std::vector<int64_t> last_rows;    // whose outputs tell these; empty: each row is a sequence
  std::vector<at::Tensor> positions;
  std::vector<StepPart> parts;
  bool is_decoding = false;  // else of prompts
};

// What all prompts begin with, of one stream.  Nobody gets a token of it.
StepBatch prefix_batch(StreamSequences& stream, std::span<const GenerationPrompt> prompts,
                       const at::Device& device);
// Prompts that enter; no ids where none does.
StepBatch entering_batch(std::span<const std::unique_ptr<StreamSequences>> streams,
                         const GenerationPlan& plan, const at::Device& device);
// The newest token of each active sequence, which the cache then holds.
StepBatch decoding_batch(std::span<const std::unique_ptr<StreamSequences>> streams,
                         const at::Device& device);

}  // namespace kvcalib
