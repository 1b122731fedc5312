// SPDX-License-Identifier: Apache-2.0
#include "calibrate/generation/sequences.h"

#include <ATen/ops/tensor.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace kvcalib {
namespace {

// Prompts that enter one by one would take the weights through the device for each.
constexpr int64_t kPartThatEnters = 8;

template <typename T>
at::Tensor on_device(const std::vector<T>& values, const at::Device& device) {
  constexpr at::ScalarType kType = sizeof(T) == sizeof(int64_t) ? at::kLong : at::kInt;
  return at::tensor(values, at::dtype(kType)).to(device);
}

TokenTree text_of(std::span<const int32_t> ids) {
  TokenTree tree;
  tree.ids.assign(ids.begin(), ids.end());
  tree.nodes.push_back({-1, 0, tree.tokens()});
  return tree;
}

std::vector<const TokenTree*> pointers(const std::vector<TokenTree>& trees) {
  std::vector<const TokenTree*> all;
  for (const TokenTree& tree : trees) all.push_back(&tree);
  return all;
}

// Texts of one stream behind what is in its cache.
void add_part(StepBatch& batch, StreamSequences& stream, const std::vector<TokenTree>& texts,
              const std::vector<int64_t>& slots, const std::vector<int64_t>& earlier,
              const at::Device& device) {
  Segments segments = make_segments(pointers(texts), device, std::ssize(earlier));
  const int64_t first = std::ssize(batch.ids);
  for (const TokenTree& text : texts)
    batch.ids.insert(batch.ids.end(), text.ids.begin(), text.ids.end());
  batch.positions.push_back(segments.positions);
  PromptRows rows{on_device(slots, device), std::move(segments), {}};
  if (!earlier.empty()) rows.earlier_slots = on_device(earlier, device);
  batch.parts.push_back({&stream.cache(), first, std::ssize(slots), std::move(rows)});
}

// How much goes through the layers together.
class Room {
 public:
  Room(const GenerationPlan& plan, const at::Device& device)
      : tokens_(plan.prompt_tokens),
        keys_(device.is_cpu() ? 0 : kKeysPerToken * plan.prompt_tokens) {}

  // Whether a text is taken; the first always is.
  bool take(int64_t tokens, int64_t keys) {
    const bool fits = tokens <= tokens_ && (keys_ == 0 || keys <= keys_);
    if (!fits && !is_first_) return false;
    is_first_ = false;
    tokens_ -= tokens;
    if (keys_ > 0) keys_ = std::max<int64_t>(1, keys_ - keys);
    return true;
  }

 private:
  int64_t tokens_;
  int64_t keys_;  // of all their paths, which GPUs gather; 0: any
  bool is_first_ = true;
};

void add_entering(StepBatch& batch, StreamSequences& stream, int64_t prefix, Room& room,
                  const at::Device& device) {
  std::vector<TokenTree> texts;
  std::vector<int64_t> slots;
  int64_t row = std::ssize(batch.ids);
  for (const GenerationPrompt* prompt = stream.next(); prompt != nullptr; prompt = stream.next()) {
    const auto tokens = std::ssize(prompt->ids);
    if (!room.take(tokens - prefix, tokens)) break;
    Sequence& sequence = stream.enter();
    texts.push_back(text_of(std::span(prompt->ids).subspan(static_cast<size_t>(prefix))));
    for (int64_t place = prefix; place < tokens; ++place) slots.push_back(sequence.slot(place));
    sequence.cached = tokens;
    row += tokens - prefix;
    batch.last_rows.push_back(row - 1);
    batch.sequences.push_back(&sequence);
  }
  if (!texts.empty()) add_part(batch, stream, texts, slots, stream.prefix_slots(), device);
}

void add_decoding(StepBatch& batch, StreamSequences& stream, const at::Device& device) {
  const auto rows = std::ssize(stream.active());
  if (rows == 0) return;
  const int64_t first = std::ssize(batch.ids);
  std::vector<int64_t> slots;
  std::vector<int32_t> positions, keys;
  int64_t most_keys = 0;
  for (const auto& sequence : stream.active()) {
    batch.ids.push_back(sequence->continuation.ids.back());
    batch.sequences.push_back(sequence.get());
    slots.push_back(sequence->slot(sequence->cached));
    positions.push_back(static_cast<int32_t>(sequence->cached));
    keys.push_back(static_cast<int32_t>(++sequence->cached));
    most_keys = std::max(most_keys, sequence->cached);
  }
  const auto columns = static_cast<size_t>(blocks_of(most_keys));
  std::vector<int32_t> tables(static_cast<size_t>(rows) * columns);
  for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
    const std::vector<int32_t>& blocks = stream.active()[row]->blocks;
    std::copy_n(blocks.begin(), std::min(columns, blocks.size()),
                tables.begin() + static_cast<int64_t>(row * columns));
  }
  batch.positions.push_back(on_device(positions, device));
  batch.parts.push_back(
      {&stream.cache(), first, rows,
       DecodingRows{on_device(slots, device),
                    on_device(tables, device).view({rows, static_cast<int64_t>(columns)}),
                    on_device(keys, device), most_keys}});
}

}  // namespace

StreamSequences::StreamSequences(size_t stream, StreamCache cache,
                                 std::span<const GenerationPrompt> prompts,
                                 const GenerationPlan& plan)
    : stream_(stream),
      cache_(std::move(cache)),
      prompts_(prompts),
      most_active_(plan.rows),
      waiting_(prompts.size()),
      prefix_blocks_(cache_.pool().take(plan.prefix_tokens / kBlockTokens)) {
  std::iota(waiting_.rbegin(), waiting_.rend(), size_t{0});
  std::stable_sort(waiting_.rbegin(), waiting_.rend(), [&](size_t left, size_t right) {
    return prompts[left].ids.size() > prompts[right].ids.size();
  });
  for (const int32_t block : prefix_blocks_)
    for (int64_t place = 0; place < kBlockTokens; ++place)
      prefix_slots_.push_back(block * kBlockTokens + place);
}

int64_t StreamSequences::own_blocks(const GenerationPrompt& prompt) const {
  return blocks_of(std::ssize(prompt.ids) + prompt.most_new) - std::ssize(prefix_blocks_);
}

bool StreamSequences::wants_more() const {
  const int64_t room = most_active_ - std::ssize(active_);
  return active_.empty() || room >= std::min(std::ssize(waiting_),
                                             std::max<int64_t>(1, most_active_ / kPartThatEnters));
}

const GenerationPrompt* StreamSequences::next() const {
  if (waiting_.empty() || std::ssize(active_) == most_active_) return nullptr;
  const GenerationPrompt& prompt = prompts_[waiting_.back()];
  return own_blocks(prompt) <= cache_.pool().free() ? &prompt : nullptr;
}

Sequence& StreamSequences::enter() {
  const size_t prompt = waiting_.back();
  waiting_.pop_back();
  Sequence& sequence = *active_.emplace_back(std::make_unique<Sequence>());
  sequence.prompt = prompt;
  sequence.stream = stream_;
  sequence.blocks = prefix_blocks_;
  cache_.pool().share(prefix_blocks_);
  const std::vector<int32_t> own = cache_.pool().take(own_blocks(prompts_[prompt]));
  sequence.blocks.insert(sequence.blocks.end(), own.begin(), own.end());
  return sequence;
}

std::vector<std::unique_ptr<Sequence>> StreamSequences::take_finished() {
  const auto first = std::stable_partition(active_.begin(), active_.end(),
                                           [](const auto& one) { return !one->finished; });
  std::vector<std::unique_ptr<Sequence>> finished(std::make_move_iterator(first),
                                                  std::make_move_iterator(active_.end()));
  active_.erase(first, active_.end());
  for (const auto& sequence : finished) cache_.pool().give_back(sequence->blocks);
  return finished;
}

StepBatch prefix_batch(StreamSequences& stream, std::span<const GenerationPrompt> prompts,
                       const at::Device& device) {
  StepBatch batch;
  const std::vector<int64_t>& slots = stream.prefix_slots();
  add_part(batch, stream, {text_of(std::span(prompts.front().ids).first(slots.size()))}, slots, {},
           device);
  return batch;
}

StepBatch entering_batch(std::span<const std::unique_ptr<StreamSequences>> streams,
                         const GenerationPlan& plan, const at::Device& device) {
  StepBatch batch;
  Room room(plan, device);
  for (const auto& stream : streams)
    if (stream->wants_more()) add_entering(batch, *stream, plan.prefix_tokens, room, device);
  return batch;
}

StepBatch decoding_batch(std::span<const std::unique_ptr<StreamSequences>> streams,
                         const at::Device& device) {
  StepBatch batch;
  batch.is_decoding = true;
  for (const auto& stream : streams) add_decoding(batch, *stream, device);
  return batch;
}

}  // namespace kvcalib
