// SPDX-License-Identifier: Apache-2.0
#include "calibrate/generation/prompt_group.h"

#include <utility>

namespace kvcalib {

PromptGroup::PromptGroup(const GenerationGroup& group, std::span<const GenerationStream> streams,
                         const DecodingRule& rule, const ModelConfig& config,
                         const LayerRange& layers, const at::Device& device)
    : prompts_(group.prompts),
      plan_(group.plan),
      streams_count_(std::ssize(streams)),
      device_(device),
      found_(group.prompts.size(), std::vector<Continuation>(streams.size())) {
  if (prompts_.empty()) return;
  for (const GenerationStream& stream : streams)
    streams_.push_back(std::make_unique<StreamSequences>(
        streams_.size(), StreamCache(stream.format, rule, config, layers, plan_.blocks, device_),
        prompts_, plan_));
}

StepBatch PromptGroup::next() {
  if (is_finished()) return {};
  if (plan_.prefix_tokens > 0 && prefixes_ < streams_.size())
    return prefix_batch(*streams_[prefixes_++], prompts_, device_);
  StepBatch entering = entering_batch(streams_, plan_, device_);
  return entering.ids.empty() ? decoding_batch(streams_, device_) : std::move(entering);
}

void PromptGroup::take(std::span<const int32_t> ids, const StepBatch& batch, const TextEnd& end) {
  for (size_t i = 0; i < ids.size(); ++i) take(ids[i], *batch.sequences[i], end);
  for (const auto& stream : streams_)
    for (const auto& sequence : stream->take_finished()) {
      found_[sequence->prompt][sequence->stream] = std::move(sequence->continuation);
      ++finished_;
    }
}

void PromptGroup::take(int32_t id, Sequence& sequence, const TextEnd& end) {
  Continuation& found = sequence.continuation;
  ++tokens_;
  if (id == end.id) {
    found.ended = true;
  } else {
    found.ids.push_back(id);
    found.settled = end.is_settled && end.is_settled(sequence.prompt, sequence.stream, found.ids);
  }
  sequence.finished =
      found.ended || found.settled || std::ssize(found.ids) == prompts_[sequence.prompt].most_new;
}

}  // namespace kvcalib
