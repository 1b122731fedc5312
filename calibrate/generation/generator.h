// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "calibrate/engine/output_head.h"
#include "calibrate/engine/pass_plan.h"
#include "calibrate/engine/run_layers.h"
#include "calibrate/generation/continuation.h"
#include "calibrate/generation/generation_plan.h"
#include "calibrate/generation/prompt_group.h"
#include "calibrate/generation/resident_layers.h"
#include "calibrate/statistics/decoding_rule.h"
#include "sharding/formats/rotation.h"
#include "sharding/ranks/communicator.h"
#include "sharding/ranks/rendezvous.h"

namespace kvcalib {

struct GenerationSettings {
  std::vector<GenerationStream> streams;
  DecodingRule decoding;
  std::optional<int32_t> end;  // the token that ends a text
  WeightPlace place = WeightPlace::kEveryDevice;
};

struct GenerationProgress {
  int64_t finished = 0, continuations = 0;  // of all prompts and streams of the call
  int64_t tokens = 0;                       // generated so far
};

// Continues prompts greedily, all streams in one batch: those that are finished leave it and
// waiting ones enter.  On ties the token with the lowest id is taken.
//
// Where the layers are divided, a step of a group of prompts goes from rank to rank, while the
// others' follow it: there are as many groups as ranks, and every rank keeps the books of all.
class Generator {
 public:
  // Reads the weights that stay: every layer together with the other ranks, or this rank's own.
  // Directory and communicator outlive the generator.  Throws Error when weights cannot be read.
  Generator(const WeightDirectory& directory, GenerationSettings settings, const PassSettings& pass,
            Communicator& communicator);
  ~Generator();

  // How many groups a call takes: as many as ranks share the layers.
  int64_t groups() const { return sharing_->size(); }

  // Continuations [groups][prompts][streams], as the groups' plans say, whose caches are taken
  // meanwhile; where layers are divided, of the same groups on every rank, all of them at the same
  // time.  `rotation`: of texts of `length` tokens, the longest of all.  A continuation does not
  // depend on the prompts beside it (on GPUs: of one plan).  Throws Error when activations are not
  // finite, and for formats that StreamCache does not know, PeerLost when another rank was lost.
  std::vector<std::vector<std::vector<Continuation>>> run(
      std::span<const GenerationGroup> groups, const Rotation& rotation, int64_t length,
      const IsSettled& is_settled, const std::function<void(const GenerationProgress&)>& progress);

 private:
  class Run;

  LayerRange own_layers() const;
  // Takes a step's rows through this rank's layers, wherever these come from.
  void pass_layers(LayerVisitor& visitor) const;

  const WeightDirectory& directory_;
  const GenerationSettings settings_;
  const PassSettings pass_;
  // For layers that do not stay: ranks take other numbers of steps, so each reads for itself.
  Rendezvous no_others_;
  const std::unique_ptr<Communicator> alone_;
  Communicator* const sharing_;               // the ranks that layers are divided among
  std::optional<OutputHead> head_;            // of the last of them
  at::Tensor embedding_;                      // [vocab, hidden], of the first
  std::unique_ptr<ResidentLayers> resident_;  // null: read anew by every step
};

}  // namespace kvcalib
