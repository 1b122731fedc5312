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
uint64_t other_bytes(const ModelConfig& config, const GenerationPlan& plan,
                     const GenerationRoom& room, int64_t groups) {
  const bool on_cpu = room.device.is_cpu();
  const int64_t rows = std::max(plan.prompt_tokens, plan.rows * room.streams.all());
  const MemoryPlan pass = plan_memory(config, room.stored_layer_bytes, 1, rows, 1,
                                      {.device = room.device, .micro_batch_tokens = rows});
  const int64_t element = on_cpu ? 4 : 2;
  int64_t bytes = config.vocab * config.hidden * element;  // the embedding
  bytes += output_head_bytes(config, on_cpu, 1);
  if (on_cpu) bytes += packed_bytes(config.hidden, config.vocab);
  if (groups > 1) bytes += rows * config.hidden * element;  // what the rank before gives
  // Keys and values of prompts' paths, as they are gathered.
  bytes += 2 * kKeysPerToken * plan.prompt_tokens * config.kv_heads * config.head_dim * element;
  return pass.total() + static_cast<uint64_t>(bytes);
}

// Plans for the same prompts and numbers of sequences.
class Planner {
 public:
  Planner(const ModelConfig& config, std::span<const GenerationPrompt> prompts,
          const GenerationRoom& room, WeightPlace place)
      : config_(config),
        room_(room),
        groups_(place == WeightPlace::kDivided ? room.ranks : 1),
        most_rows_(useful_rows(std::ssize(prompts), room.streams.all(), room.device)),
        block_bytes_(static_cast<uint64_t>(room.streams.int8) *
                         cache_block_bytes(config, most_layers(), true, room.device) +
                     static_cast<uint64_t>(room.streams.sixteen_bits) *
                         cache_block_bytes(config, most_layers(), false, room.device)) {
    plan_.prefix_tokens = common_prefix(prompts);
    own_blocks_ = own_blocks(prompts, plan_.prefix_tokens);
    int64_t longest_prompt = 0;
    for (const GenerationPrompt& prompt : prompts) {
      plan_.length = std::max(plan_.length, tokens_of(prompt));
      longest_prompt = std::max(longest_prompt, static_cast<int64_t>(prompt.ids.size()));
    }
    plan_.prompt_tokens = std::max(default_micro_batch(room.device), longest_prompt);
    if (place != WeightPlace::kFiles)
      plan_.weight_bytes = resident_layer_bytes(config, most_layers(), room.device);
  }

  // With as many sequences as fit, at least so many or all.
  bool fits(int64_t fewest) {
    fewest = std::min(fewest, most_rows_);
    for (int64_t rows = most_rows_;; rows = std::max(rows / 2, fewest)) {
      set_rows(rows);
      if (plan_.total() <= room_.free_bytes) return true;
      if (rows == fewest) return false;
    }
  }
  const GenerationPlan& plan() const { return plan_; }

 private:
  // Of a rank.
  int64_t most_layers() const { return (config_.layers + groups_ - 1) / groups_; }

  void set_rows(int64_t rows) {
    plan_.rows = rows;
    plan_.blocks = plan_.prefix_tokens / kBlockTokens;
    for (int64_t row = 0; row < std::min(rows, std::ssize(own_blocks_)); ++row)
      plan_.blocks += own_blocks_[static_cast<size_t>(row)];
    plan_.cache_bytes = static_cast<uint64_t>(plan_.blocks * groups_) * block_bytes_;
    plan_.gemm_rows = rows * room_.streams.all();
    plan_.other_bytes = other_bytes(config_, plan_, room_, groups_);
  }

  const ModelConfig& config_;
  const GenerationRoom& room_;
  const int64_t groups_;  // of prompts, which a rank has caches for
  const int64_t most_rows_;
  const uint64_t block_bytes_;
  std::vector<int64_t> own_blocks_;
  GenerationPlan plan_;
};

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

int64_t useful_rows(int64_t prompts, int64_t streams, const c10::Device& device) {
  return std::clamp<int64_t>(most_rows(device) / streams, 1, std::max<int64_t>(1, prompts));
}

LayerRange layers_of_rank(const ModelConfig& config, int64_t rank, int64_t ranks) {
  return {config.layers * rank / ranks, config.layers * (rank + 1) / ranks};
}

bool fits(const ModelConfig& config, std::span<const GenerationPrompt> prompts,
          const GenerationRoom& room, WeightPlace place) {
  if (place == WeightPlace::kDivided && config.layers < room.ranks) return false;
  return Planner(config, prompts, room, place).fits(kFewRows);
}

GenerationPlan plan_generation(const ModelConfig& config, std::span<const GenerationPrompt> prompts,
                               const GenerationRoom& room, WeightPlace place) {
  Planner planner(config, prompts, room, place);
  if (planner.fits(1)) return planner.plan();
  const GenerationPlan& plan = planner.plan();
  throw Error(concat("generation: ", gigabytes(plan.total()), " are needed (cache ",
                     gigabytes(plan.cache_bytes), " for one prompt of ", plan.length,
                     " tokens with its answer), ", gigabytes(room.free_bytes),
                     " are free; use a shorter --length or fewer streams"));
}

}  // namespace kvcalib
