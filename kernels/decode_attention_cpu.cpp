// SPDX-License-Identifier: Apache-2.0
#include "kernels/decode_attention.h"
#include "kernels/instruction_set.h"

namespace kvcalib::kernels::cpu {

int64_t decode_attention_scratch(int64_t heads, int64_t kv_heads, int64_t head_dim) {
  return heads / kv_heads * (2 * padded_head(head_dim) + kBlockTokens + 2) +
         2 * kBlockTokens * head_dim;
}

void decode_attention(const DecodeAttentionArguments<float>& arguments, int64_t first_task,
                      int64_t last_task, const InstructionSet& set) {
  arguments.check();
  require(0 <= first_task && last_task <= arguments.tasks(), "decode_attention: tasks exist");
  for (int64_t task = first_task; task < last_task; ++task)
    require(arguments.keys[task / arguments.kv_heads] <= arguments.most_keys,
            "decode_attention: no row has more keys than most_keys");
  set.decode_attention(arguments, first_task, last_task, cache_loops(*set.rows, arguments.type));
}

}  // namespace kvcalib::kernels::cpu
