// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "calibrate/engine/cache_format.h"
#include "calibrate/engine/output_head.h"
#include "calibrate/engine/pass_plan.h"
#include "calibrate/engine/run_layers.h"
#include "calibrate/generation/continuation.h"
#include "calibrate/generation/generation_plan.h"
#include "calibrate/generation/resident_layers.h"
#include "calibrate/statistics/decoding_rule.h"
#include "sharding/formats/rotation.h"
#include "sharding/ranks/communicator.h"
#include "sharding/ranks/rendezvous.h"

namespace kvcalib {

// A cache that texts are continued with.
struct GenerationStream {
  std::string name;
  CacheFormat format;  // of 16 bits or int8
};

struct GenerationSettings {
  std::vector<GenerationStream> streams;
  DecodingRule decoding;
  std::optional<int32_t> end;  // the token that ends a text
  bool weights_stay = true;    // else every step reads them anew
};

// Whether more tokens behind these would change nothing: asked behind every new token.
using IsSettled = std::function<bool(size_t prompt, size_t stream, std::span<const int32_t> ids)>;

struct GenerationProgress {
  int64_t finished = 0, continuations = 0;  // of all prompts and streams
  int64_t tokens = 0;                       // generated so far
};

// Continues prompts greedily, all streams in one batch: those that are finished leave it and
// waiting ones enter.  On ties the token with the lowest id is taken.
class Generator {
 public:
  // Reads the weights where they stay, each layer together with the other ranks.  The directory
  // outlives the generator.  Throws Error when weights cannot be read.
  Generator(const WeightDirectory& directory, GenerationSettings settings, const PassSettings& pass,
            Communicator& communicator);
  ~Generator();

  // Continuations [prompts][streams], as a plan of these prompts says, whose caches are taken
  // meanwhile.  `rotation`: of texts of the plan's length.  A continuation does not depend on the
  // prompts beside it (on GPUs: of one plan).  Throws Error when activations are not finite, and
  // for formats that StreamCache does not know.
  std::vector<std::vector<Continuation>> run(
      std::span<const GenerationPrompt> prompts, const GenerationPlan& plan,
      const Rotation& rotation, const IsSettled& is_settled,
      const std::function<void(const GenerationProgress&)>& progress);

 private:
  class Run;

  // Takes a step's rows through all layers, wherever these come from.
  void pass_layers(LayerVisitor& visitor) const;

  const WeightDirectory& directory_;
  const GenerationSettings settings_;
  const PassSettings pass_;
  // For layers that do not stay: ranks take other numbers of steps, so each reads for itself.
  Rendezvous no_others_;
  const std::unique_ptr<Communicator> alone_;
  OutputHead head_;
  at::Tensor embedding_;                      // [vocab, hidden]
  std::unique_ptr<ResidentLayers> resident_;  // null: read anew by every step
};

}  // namespace kvcalib
