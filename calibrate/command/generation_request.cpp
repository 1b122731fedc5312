// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/generation_request.h"

#include "calibrate/command/cache_format_archive.h"
#include "sharding/files/byte_archive.h"

namespace kvcalib {

template <typename Archive, SameAs<GenerationStream> T>
void members(Archive& archive, T& stream) {
  archive(stream.name, stream.format);
}

template <typename Archive, SameAs<DecodingRule> T>
void members(Archive& archive, T& rule) {
  archive(rule.newest_is_exact, rule.rounds_half_away);
}

template <typename Archive, SameAs<GenerationPrompt> T>
void members(Archive& archive, T& prompt) {
  archive(prompt.ids, prompt.most_new);
}

template <typename Archive, SameAs<GenerationTask> T>
void members(Archive& archive, T& task) {
  archive(task.place, task.name, task.extract, task.prompts);
}

template <typename Archive, SameAs<GenerationRequest> T>
void members(Archive& archive, T& request) {
  archive(request.streams, request.decoding, request.end, request.length, request.tokenizer,
          request.tasks);
}

template <typename Archive, SameAs<Continuation> T>
void members(Archive& archive, T& continuation) {
  archive(continuation.ids, continuation.ended, continuation.settled);
}

std::vector<GenerationPrompt> prompts_of_rank(const GenerationTask& task, int64_t rank,
                                              int64_t ranks) {
  std::vector<GenerationPrompt> own;
  for (auto i = static_cast<size_t>(rank); i < task.prompts.size(); i += static_cast<size_t>(ranks))
    own.push_back(task.prompts[i]);
  return own;
}

std::string to_bytes(const GenerationRequest& request) { return to_archive(request); }

GenerationRequest generation_request_of(std::string_view bytes) {
  return from_archive<GenerationRequest>(bytes, "the first rank's request for answers");
}

std::string to_bytes(const TaskContinuations& continuations) { return to_archive(continuations); }

TaskContinuations continuations_of(std::string_view bytes, const std::string& origin) {
  return from_archive<TaskContinuations>(bytes, origin);
}

}  // namespace kvcalib
