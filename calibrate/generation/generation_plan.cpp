// SPDX-License-Identifier: Apache-2.0
#include "calibrate/generation/generation_plan.h"

#include <algorithm>
#include <iomanip>
#include <iterator>
#include <string>

#include "calibrate/engine/linear.h"
#include "calibrate/engine/output_head.h"
#include "calibrate/engine/pass_plan.h"
#include "calibrate/generation/block_pool.h"
#include "calibrate/generation/resident_layers.h"
#include "calibrate/generation/stream_cache.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

// Sequences at once, of all streams together: more make a step no cheaper for each of them.
int64_t most_rows(const c10::Device& device) { return device.is_cpu() ? 128 : 512; }

// Weights that do not stay are read anew for every token: rather some sequences fewer at once.
constexpr int64_t kFewRows = 8;

std::string gigabytes(uint64_t bytes) {
  return concat(std::setprecision(3), static_cast<double>(bytes) / 1e9, " GB");
}

int64_t tokens_of(const GenerationPrompt& prompt) {
  return static_cast<int64_t>(prompt.ids.size()) + prompt.most_new;
}

// Blocks that prompts may take behind the common ones, the most first.
std::vector<int64_t> own_blocks(std::span<const GenerationPrompt> prompts, int64_t prefix) {
  std::vector<int64_t> blocks;
  for (const GenerationPrompt& prompt : prompts)
    blocks.push_back(blocks_of(tokens_of(prompt)) - prefix / kBlockTokens);
  std::sort(blocks.rbegin(), blocks.rend());
  return blocks;
}

// Memory of everything but weights that stay and the cache.
uint64_t other_bytes(const ModelConfig& config, uint64_t stored_layer_bytes,
                     const GenerationPlan& plan, const StreamCounts& streams,
                     const c10::Device& device) {
  const int64_t rows = std::max(plan.prompt_tokens, plan.rows * streams.all());
  const MemoryPlan pass = plan_memory(config, stored_layer_bytes, 1, rows, 1,
                                      {.device = device, .micro_batch_tokens = rows});
  const int64_t element = device.is_cpu() ? 4 : 2;
  int64_t bytes = config.vocab * config.hidden * element;  // the embedding
  bytes += output_head_bytes(config, device.is_cpu(), 1);
  if (device.is_cpu()) bytes += packed_bytes(config.hidden, config.vocab);
  // Keys and values of prompts' paths, as they are gathered.
  bytes += 2 * kKeysPerToken * plan.prompt_tokens * config.kv_heads * config.head_dim * element;
  return pass.total() + static_cast<uint64_t>(bytes);
}

}  // namespace

int64_t common_prefix(std::span<const GenerationPrompt> prompts) {
  if (prompts.size() < 2) return 0;
  const std::vector<int32_t>& first = prompts.front().ids;
  auto end = std::prev(first.end());
  for (const GenerationPrompt& prompt : prompts.subspan(1)) {
    const auto last = std::prev(prompt.ids.end());
    end = std::mismatch(first.begin(), end, prompt.ids.begin(), last).first;
  }
  return (end - first.begin()) / kBlockTokens * kBlockTokens;
}

GenerationPlan plan_generation(const ModelConfig& config, uint64_t stored_layer_bytes,
                               std::span<const GenerationPrompt> prompts,
                               const StreamCounts& streams, const c10::Device& device,
                               uint64_t free_bytes) {
  GenerationPlan plan{.prefix_tokens = common_prefix(prompts)};
  int64_t longest_prompt = 0;
  for (const GenerationPrompt& prompt : prompts) {
    plan.length = std::max(plan.length, tokens_of(prompt));
    longest_prompt = std::max(longest_prompt, static_cast<int64_t>(prompt.ids.size()));
  }
  plan.prompt_tokens = std::max(default_micro_batch(device), longest_prompt);
  const std::vector<int64_t> own = own_blocks(prompts, plan.prefix_tokens);
  const uint64_t block_bytes =
      static_cast<uint64_t>(streams.int8) * cache_block_bytes(config, true, device) +
      static_cast<uint64_t>(streams.sixteen_bits) * cache_block_bytes(config, false, device);
  const auto with_rows = [&](int64_t rows, bool weights_stay) {
    plan.rows = rows;
    plan.blocks = plan.prefix_tokens / kBlockTokens;
    for (int64_t row = 0; row < rows; ++row) plan.blocks += own[static_cast<size_t>(row)];
    plan.weights_stay = weights_stay;
    plan.weight_bytes = weights_stay ? resident_layer_bytes(config, device) : 0;
    plan.cache_bytes = static_cast<uint64_t>(plan.blocks) * block_bytes;
    plan.other_bytes = other_bytes(config, stored_layer_bytes, plan, streams, device);
    return plan.total() <= free_bytes;
  };
  const int64_t most =
      std::clamp<int64_t>(most_rows(device) / streams.all(), 1, std::ssize(prompts));
  const auto fit = [&](int64_t fewest, bool weights_stay) {
    for (int64_t rows = most; rows >= fewest; rows = rows > fewest ? std::max(rows / 2, fewest) : 0)
      if (with_rows(rows, weights_stay)) return true;
    return false;
  };
  if (prompts.empty() || fit(std::min(kFewRows, most), true) || fit(1, false)) return plan;
  throw Error(concat("generation: ", gigabytes(plan.total()), " are needed (cache ",
                     gigabytes(plan.cache_bytes), " for one prompt of ", plan.length,
                     " tokens with its answer), ", gigabytes(free_bytes),
                     " are free; use shorter prompts or fewer streams"));
}

}  // namespace kvcalib
