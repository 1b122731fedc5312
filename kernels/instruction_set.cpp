// SPDX-License-Identifier: Apache-2.0
#include "kernels/instruction_set.h"

#include <vector>

namespace kvcalib::kernels::cpu {

extern const InstructionSet kBaselineSet;
#ifdef __x86_64__
extern const InstructionSet kAvx2Set, kAvx512Set;
#endif

namespace {

std::vector<const InstructionSet*> find_instruction_sets() {
  std::vector<const InstructionSet*> found;
#ifdef __x86_64__
  // Every processor that has both widens halves as well.
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                          __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  if (has_avx2 && has_avx512) found.push_back(&kAvx512Set);
  if (has_avx2) found.push_back(&kAvx2Set);
#endif
  found.push_back(&kBaselineSet);
  return found;
}

int64_t round_up(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

}  // namespace

std::span<const InstructionSet* const> instruction_sets() {
  static const std::vector<const InstructionSet*> kSets = find_instruction_sets();
  return kSets;
}

int64_t packed_floats(int64_t depth, int64_t columns, const InstructionSet& set) {
  return depth * round_up(columns, set.panel_columns);
}

void pack_columns(const PackColumnsArguments& arguments, const InstructionSet& set) {
  arguments.check();
  set.pack_columns(arguments);
}

void matrix_product(const MatrixProductArguments& arguments, const InstructionSet& set) {
  arguments.check();
  set.matrix_product(arguments);
}

int64_t attention_scratch(int64_t query_length, int64_t head_dim) {
  const int64_t padded = round_up(head_dim, kWidestPanel);
  return (kAttentionKeys + kAttentionQueries) * (head_dim + padded) +
         kAttentionQueries * (kAttentionKeys + 1) + 2 * query_length;
}

void causal_attention(const CausalAttentionArguments& arguments, int64_t first_task,
                      int64_t last_task, const InstructionSet& set) {
  arguments.check();
  require(0 <= first_task && last_task <= arguments.tasks(), "causal_attention: tasks exist");
  set.causal_attention(arguments, first_task, last_task);
}

}  // namespace kvcalib::kernels::cpu
