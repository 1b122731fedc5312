// SPDX-License-Identifier: Apache-2.0
#include "calibrate/generation/generation_step.h"

#include <ATen/ops/cat.h>

#include <utility>

namespace kvcalib {
namespace {

// The rows of a part.
struct PartHeads {
  at::Tensor queries, keys, values;
};

PartHeads heads_of(const StepPart& part, const at::Tensor& queries, const at::Tensor& keys,
                   const at::Tensor& values) {
  const auto rows = [&](const at::Tensor& all) { return all.narrow(0, part.first_row, part.rows); };
  return {rows(queries), rows(keys), rows(values)};
}

void store(const StepPart& part, int64_t layer, const PartHeads& heads) {
  if (const auto* const prompts = std::get_if<PromptRows>(&part.what))
    part.cache->store_prompt(layer, heads.keys, heads.values, prompts->slots);
  else
    part.cache->store_newest(layer, heads.keys, heads.values, std::get<DecodingRows>(part.what));
}

at::Tensor attend(const StepPart& part, int64_t layer, const PartHeads& heads,
                  int64_t sliding_window) {
  if (const auto* const decoding = std::get_if<DecodingRows>(&part.what))
    return part.cache->attend(layer, heads.queries, heads.keys, heads.values, *decoding);
  const auto& prompts = std::get<PromptRows>(part.what);
  at::Tensor keys = heads.keys, values = heads.values;
  if (prompts.earlier_slots.defined()) {
    const auto [earlier_keys, earlier_values] = part.cache->load(layer, prompts.earlier_slots);
    keys = at::cat({earlier_keys, keys});
    values = at::cat({earlier_values, values});
  }
  return segment_attention(heads.queries, keys, values, prompts.segments, sliding_window);
}

}  // namespace

StepVisitor::StepVisitor(const LayerContext& context, at::Tensor hidden, at::Tensor positions,
                         std::vector<StepPart> parts, LayerWorkspace& workspace,
                         const Faults& faults)
    : context_(context),
      hidden_(std::move(hidden)),
      positions_(std::move(positions)),
      parts_(std::move(parts)),
      workspace_(workspace),
      faults_(faults) {}

void StepVisitor::visit(int64_t layer, const LayerWeights& weights, const LayerSource& source) {
  source.check();
  KvHook hook;
  hook.function = [&](const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values) {
    for (const StepPart& part : parts_) store(part, layer, heads_of(part, queries, keys, values));
  };
  hook.attend = [&](const at::Tensor& queries, const at::Tensor& keys, const at::Tensor& values) {
    std::vector<at::Tensor> attended;
    for (const StepPart& part : parts_)
      attended.push_back(attend(part, layer, heads_of(part, queries, keys, values),
                                context_.config.sliding_window));
    return attended.size() == 1 ? attended.front() : at::cat(attended);
  };
  decoder_layer(context_, weights,
                {.hidden = hidden_, .positions = positions_, .length = hidden_.size(0)}, workspace_,
                faults_.of(layer), hook);
}

}  // namespace kvcalib
