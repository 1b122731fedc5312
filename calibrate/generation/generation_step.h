// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <variant>
#include <vector>

#include "calibrate/engine/decoder_layer.h"
#include "calibrate/engine/run_layers.h"
#include "calibrate/engine/segment_attention.h"
#include "calibrate/generation/stream_cache.h"

namespace kvcalib {

// Tokens of prompts, which attend to themselves and to what their cache holds before them.
struct PromptRows {
  at::Tensor slots;          // int64 [rows]: where their K and V go
  Segments segments;         // their rows
  at::Tensor earlier_slots;  // int64 [segments.earlier]; undefined: nothing is earlier
};

// What one stream has of the rows that a step takes through the layers.
struct StepPart {
  StreamCache* cache = nullptr;
  int64_t first_row = 0, rows = 0;
  std::variant<PromptRows, DecodingRows> what;
};

// Takes rows of several streams through the layers, all of them in the same products.
class StepVisitor final : public LayerVisitor {
 public:
  // hidden [rows, hidden] becomes the last layer's output; positions int32 [rows].  The parts cover
  // the rows in their order.  Context, workspace and faults outlive the visitor.
  StepVisitor(const LayerContext& context, at::Tensor hidden, at::Tensor positions,
              std::vector<StepPart> parts, LayerWorkspace& workspace, const Faults& faults);

  void visit(int64_t layer, const LayerWeights& weights, const LayerSource& source) override;
  // Faults are looked at when the step is done.
  void finish(int64_t /*layer*/) override {}

 private:
  const LayerContext& context_;
  const at::Tensor hidden_, positions_;
  const std::vector<StepPart> parts_;
  LayerWorkspace& workspace_;
  const Faults& faults_;
};

}  // namespace kvcalib
