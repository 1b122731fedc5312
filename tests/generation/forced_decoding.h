// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "calibrate/engine/compute_type.h"
#include "calibrate/engine/embedding.h"
#include "calibrate/engine/output_head.h"
#include "calibrate/generation/generation_step.h"
#include "calibrate/generation/prompt_group.h"
#include "calibrate/generation/resident_layers.h"
#include "sharding/formats/rotation.h"
#include "sharding/ranks/lone_communicator.h"

namespace kvcalib {

// What a model finds of a given text whose beginning is its prompt, while the rest is decoded token
// by token, whatever the model would have taken.
class ForcedDecoding {
 public:
  ForcedDecoding(const WeightDirectory& directory, const c10::Device& device)
      : directory_(directory),
        device_(device),
        layers_(directory, {0, directory.config().layers}, {.device = device}, alone_),
        head_(directory, device) {}

  // Log-probability of each token of the text from `prompt` on, behind all before it.
  std::vector<double> score(std::span<const int32_t> text, size_t prompt, const CacheFormat& format,
                            const DecodingRule& rule) {
    const ModelConfig& config = directory_.config();
    const GenerationPrompt given{{text.begin(), text.begin() + static_cast<int64_t>(prompt)},
                                 std::ssize(text) - static_cast<int64_t>(prompt)};
    const GenerationStream stream{"a", format};
    const GenerationPlan plan = plan_generation(config, {&given, 1},
                                                {{.int8 = 1, .sixteen_bits = 0},
                                                 device_,
                                                 stored_layer_bytes(directory_),
                                                 uint64_t{1} << 34},
                                                WeightPlace::kEveryDevice);
    PromptGroup group({{&given, 1}, plan}, {&stream, 1}, rule, config, {0, config.layers}, device_);
    const LayerContext context =
        make_layer_context(config, {frequencies_of(config.rope_theta, config.head_dim), 1.0, {}},
                           std::ssize(text), device_, nullptr);
    std::vector<double> scores;
    for (size_t next = prompt; next < text.size(); ++next) {
      const StepBatch batch = group.next();
      scores.push_back(log_probability(output(batch, context), text[next]));
      group.take(text.subspan(next, 1), batch, {});
    }
    return scores;
  }

 private:
  // The last row behind all layers, [1, hidden].
  at::Tensor output(const StepBatch& batch, const LayerContext& context) {
    const ModelConfig& config = directory_.config();
    const auto options = at::device(device_).dtype(compute_type(config, device_));
    const at::Tensor hidden = at::empty({std::ssize(batch.ids), config.hidden}, options);
    embed_tokens(directory_, batch.ids, hidden);
    LayerWorkspace workspace(config, hidden.size(0), options);
    const Faults faults(config.layers, device_);
    StepVisitor visitor(context, hidden, at::cat(batch.positions), batch.parts, workspace, faults);
    run_layers(layers_, {0, config.layers}, visitor);
    faults.check_all();
    return hidden.slice(0, -1);
  }

  double log_probability(const at::Tensor& hidden, int32_t id) const {
    double found = 0;
    const auto bad =
        head_.run({&hidden, 1}, {}, [&](int64_t /*first*/, const std::vector<at::Tensor>& logits) {
          found = logits.front().to(at::kDouble).log_softmax(-1)[0][id].item<double>();
        });
    TORCH_CHECK(!bad, "the output is not finite");
    return found;
  }

  const c10::InferenceMode inference_;
  const WeightDirectory& directory_;
  const c10::Device device_;
  LoneCommunicator alone_;
  ResidentLayers layers_;
  OutputHead head_;
};

}  // namespace kvcalib
