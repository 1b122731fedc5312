// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/serving_allocations.h"

#include <algorithm>

#include "calibrate/runtimes/turbomind/deployed_config.h"

namespace kvcalib {
namespace {

constexpr double kElement = 2;  // bytes of a 16-bit number
constexpr double kSplits = 16;  // of a decoded token's attention over its blocks
constexpr double kMost = 1e18;  // bytes: sums of what fits nowhere still fit their type

// A model's share of one GPU, in doubles: products of bounded dimensions that only have to be right
// to a byte below 2^53.
struct Share {
  double layers, hidden, heads, kv_heads, width, intermediate, vocab;
  double query, key_value;  // channels of its heads

  Share(const ModelConfig& model, const TurboMindRelease& release, int64_t ranks)
      : layers(static_cast<double>(model.layers)),
        hidden(static_cast<double>(model.hidden)),
        heads(static_cast<double>(model.heads) / static_cast<double>(ranks)),
        kv_heads(static_cast<double>(model.kv_heads) / static_cast<double>(ranks)),
        width(static_cast<double>(model.head_dim)),
        intermediate(static_cast<double>(model.intermediate) / static_cast<double>(ranks)),
        vocab(static_cast<double>(deployed_rows(model.vocab, release, ranks))),
        query(heads * width),
        key_value(2 * kv_heads * width) {}
};

int64_t most_prefill_tokens(const MemorySettings& settings, int64_t session_tokens) {
  return settings.max_context_token_num <= settings.max_batch_size
             ? settings.max_context_token_num * session_tokens
             : settings.max_context_token_num;
}

// Sessions that begin in one prefill.
struct Prefill {
  double requests, prompt;  // and tokens of the longest
  double most;              // tokens that it could take
  double tokens;            // that it takes of all requests

  Prefill(const MemorySettings& settings, const ServingLoad& load)
      : requests(static_cast<double>(load.sessions)),
        prompt(static_cast<double>(load.prompt_tokens)),
        most(static_cast<double>(most_prefill_tokens(settings, load.session_tokens))),
        tokens(std::min(most, requests * prompt)) {}
};

class AllocationList {
 public:
  AllocationList(ServingPart part, Taking taking) : part_(part), taking_(taking) {}

  void to(ServingPart part) { part_ = part; }
  void add(double bytes, double count = 1) {
    if (bytes > 0 && count > 0)
      allocations_.push_back({part_, taking_, static_cast<uint64_t>(std::min(bytes, kMost)),
                              static_cast<uint64_t>(count)});
  }
  std::vector<ServingAllocation> take() { return std::move(allocations_); }

 private:
  ServingPart part_;
  Taking taking_;
  std::vector<ServingAllocation> allocations_;
};

void add_logits(AllocationList& list, const Share& share, const Prefill& prefill) {
  list.add(4 * prefill.requests * share.vocab, 2);
}

void add_feed_forward(AllocationList& list, const Share& share, const Prefill& prefill) {
  list.add(kElement * prefill.tokens * share.intermediate, 2);
}

void add_session_buffers(AllocationList& list, const Share& share, const Prefill& prefill,
                         double session_tokens) {
  const double padded = prefill.requests * prefill.prompt;
  list.add(kElement * 4 * session_tokens * share.hidden);  // inputs of decoding
  list.add(kElement * prefill.tokens * share.hidden);      // hidden states
  list.add(kElement * 3 * prefill.tokens * share.query);   // q, k and v
  list.add(kElement * 3 * padded * share.query);           // the same, padded, by head
  list.add(kElement * prefill.tokens * share.query);       // attended
  list.add(kElement * padded * prefill.prompt);            // mask
  add_feed_forward(list, share, prefill);
  add_logits(list, share, prefill);
}

// Of prompts that begin: as many keys as queries.
void add_unfused_attention(AllocationList& list, const Share& share, const Prefill& prefill) {
  const double padded = prefill.requests * prefill.prompt;
  list.add(2 * kElement * padded * share.query);               // K and V as 16 bits
  list.add(kElement * padded * share.heads * prefill.prompt);  // scores
  list.add(kElement * padded * share.query);                   // attended, by head
}

void add_block_buffers(AllocationList& list, const Share& share, const Prefill& prefill) {
  const double partial = 4 * prefill.requests * share.heads * kSplits;
  list.add(kElement * prefill.most * share.hidden, 2);                    // hidden states
  list.add(kElement * prefill.tokens * (share.query + share.key_value));  // q, k and v
  list.add(kElement * prefill.tokens * share.query);                      // attended
  list.add(kElement * prefill.tokens * share.key_value);                  // K and V of a layer
  list.add(partial * share.width);                                        // of splits
  list.add(partial, 2);                                                   // their maxima and sums
  add_feed_forward(list, share, prefill);
  add_logits(list, share, prefill);
}

}  // namespace

std::vector<ServingAllocation> model_allocations(const ModelConfig& model,
                                                 const TurboMindRelease& release, int64_t ranks) {
  const Share share(model, release, ranks);
  AllocationList list(ServingPart::kWeights, Taking::kAlone);
  list.add(kElement * share.hidden, 2 * share.layers);  // norms
  list.add(kElement * share.hidden * (share.query + share.key_value), share.layers);
  list.add(kElement * share.query * share.hidden, share.layers);
  if (model.attention_bias) {
    list.add(kElement * (share.query + share.key_value), share.layers);
    list.add(kElement * share.hidden, share.layers);
  }
  list.add(kElement * share.hidden * share.intermediate, 3 * share.layers);
  list.to(ServingPart::kTables);
  list.add(kElement * share.vocab * share.hidden, 2);
  list.add(kElement * share.hidden);  // the last norm
  return list.take();
}

std::vector<ServingAllocation> cache_allocations(double entry_bytes, int64_t entries,
                                                 int64_t chunk) {
  AllocationList list(ServingPart::kCache, Taking::kPooled);
  const auto pieces = [&](int64_t each, int64_t count) {
    list.add(static_cast<double>(each) * entry_bytes, static_cast<double>(count));
  };
  pieces(chunk, entries / chunk);
  pieces(entries % chunk, 1);
  return list.take();
}

std::vector<ServingAllocation> buffer_allocations(const ModelConfig& model,
                                                  const TurboMindRelease& release,
                                                  const MemorySettings& settings,
                                                  const ServingLoad& load, CacheType type) {
  const Share share(model, release, load.ranks);
  const Prefill prefill(settings, load);
  AllocationList list(ServingPart::kBuffers, Taking::kPooled);
  if (release.pages_cache) {
    add_block_buffers(list, share, prefill);
    return list.take();
  }
  add_session_buffers(list, share, prefill, static_cast<double>(load.session_tokens));
  list.to(ServingPart::kUnfusedAttention);
  if (type == CacheType::kInt8 && !release.int8_in_flash_attention)
    add_unfused_attention(list, share, prefill);
  return list.take();
}

uint64_t bytes_of(std::span<const ServingAllocation> allocations, ServingPart part) {
  double sum = 0;
  for (const ServingAllocation& allocation : allocations)
    if (allocation.part == part)
      sum += static_cast<double>(allocation.bytes) * static_cast<double>(allocation.count);
  return static_cast<uint64_t>(std::min(sum, kMost));
}

}  // namespace kvcalib
