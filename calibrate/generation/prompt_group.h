// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calibrate/engine/cache_format.h"
#include "calibrate/engine/run_layers.h"
#include "calibrate/generation/continuation.h"
#include "calibrate/generation/generation_plan.h"
#include "calibrate/generation/sequences.h"
#include "calibrate/statistics/decoding_rule.h"

namespace kvcalib {

// A cache that texts are continued with.
struct GenerationStream {
  std::string name;
  CacheFormat format;  // of 16 bits or int8
};

// Whether more tokens behind these would change nothing: asked behind every new token of a prompt,
// whose number is that in its group.
using IsSettled = std::function<bool(size_t prompt, size_t stream, std::span<const int32_t> ids)>;

// When a text ends.
struct TextEnd {
  std::optional<int32_t> id;  // the token that ends it
  IsSettled is_settled;       // empty: never
};

// Prompts that go through the layers together, with what is planned for them.
struct GenerationGroup {
  std::span<const GenerationPrompt> prompts;  // may be empty, and then need no plan
  GenerationPlan plan;
};

// A group's prompts on their way, and their caches in some layers.
class PromptGroup {
 public:
  // Takes the caches' memory.  The prompts outlive it.  Throws as StreamCache does.
  PromptGroup(const GenerationGroup& group, std::span<const GenerationStream> streams,
              const DecodingRule& rule, const ModelConfig& config, const LayerRange& layers,
              const at::Device& device);

  bool is_finished() const { return finished_ == continuations(); }
  int64_t continuations() const { return std::ssize(prompts_) * streams_count_; }
  int64_t finished() const { return finished_; }
  int64_t tokens() const { return tokens_; }  // generated so far

  // What goes through the layers next; nothing when all are finished.  Its tokens are to be taken
  // before the next.
  StepBatch next();
  // The token that each of a batch's sequences gets.
  void take(std::span<const int32_t> ids, const StepBatch& batch, const TextEnd& end);

  // [prompts][streams], when all are finished.
  std::vector<std::vector<Continuation>>& found() { return found_; }

 private:
  void take(int32_t id, Sequence& sequence, const TextEnd& end);

  const std::span<const GenerationPrompt> prompts_;
  const GenerationPlan plan_;
  const int64_t streams_count_;
  const at::Device device_;
  std::vector<std::vector<Continuation>> found_;
  std::vector<std::unique_ptr<StreamSequences>> streams_;  // none where there are no prompts
  size_t prefixes_ = 0;                                    // streams whose common beginning went
  int64_t finished_ = 0, tokens_ = 0;
};

}  // namespace kvcalib
