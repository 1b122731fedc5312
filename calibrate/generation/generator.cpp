// SPDX-License-Identifier: Apache-2.0
#include "calibrate/generation/generator.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "calibrate/engine/compute_type.h"
#include "calibrate/engine/embedding.h"
#include "calibrate/engine/layer_pass.h"
#include "calibrate/generation/generation_step.h"
#include "sharding/files/error.h"
#include "sharding/ranks/make_communicator.h"

namespace kvcalib {
namespace {

at::Tensor read_embedding(const WeightDirectory& directory, const c10::Device& device) {
  const ModelConfig& config = directory.config();
  std::vector<int32_t> all(static_cast<size_t>(config.vocab));
  std::iota(all.begin(), all.end(), 0);
  const at::Tensor table = at::empty({config.vocab, config.hidden},
                                     at::device(device).dtype(compute_type(config, device)));
  embed_tokens(directory, all, table);
  return table;
}

// The algorithms of products are chosen for a power of two of rows, the most that there can be.
int64_t gemm_rows(int64_t rows) {
  constexpr int64_t kFewest = 16;
  int64_t chosen = kFewest;
  while (chosen < rows) chosen *= 2;
  return chosen;
}

}  // namespace

// The ranks that share the layers work in turns: in turn t rank r has group (t - r) % ranks, whose
// rows rank r - 1 had in the turn before.  The last rank finds the tokens at the end of a turn, in
// time for the first to have the group again in the next.
class Generator::Run {
 public:
  Run(const Generator& generator, std::span<const GenerationGroup> groups, const Rotation& rotation,
      int64_t length, const IsSettled& is_settled)
      : generator_(generator),
        sharing_(*generator.sharing_),
        config_(generator.directory_.config()),
        device_(generator.pass_.device),
        end_{generator.settings_.end, is_settled},
        batches_(groups.size()),
        most_rows_(most_rows(groups)),
        faults_(config_.layers, device_),
        prompt_context_(
            make_layer_context(config_, rotation, length, device_, generator.pass_.trace)),
        decoding_context_(prompt_context_),
        workspace_(config_, most_rows_, options()),
        hidden_(at::empty({most_rows_, config_.hidden}, options())) {
    TORCH_CHECK(std::ssize(groups) == ranks(), "generator: ", groups.size(), " groups of prompts");
    int64_t rows = 1;
    for (const GenerationGroup& group : groups) rows = std::max(rows, group.plan.gemm_rows);
    decoding_context_.gemm_rows = gemm_rows(rows);
    for (const GenerationGroup& group : groups)
      groups_.emplace_back(group, generator.settings_.streams, generator.settings_.decoding,
                           config_, generator.own_layers(), device_);
    if (ranks() > 1) taken_ = at::empty_like(hidden_);
  }

  std::vector<std::vector<std::vector<Continuation>>> run(
      const std::function<void(const GenerationProgress&)>& tell) {
    const AbortOnFailure abort_on_failure(sharing_);
    GenerationProgress progress = sum();
    for (int64_t turn = 0; progress.finished < progress.continuations; ++turn) {
      take_turn(turn);
      progress = sum();
      if (tell) tell(progress);
    }
    std::vector<std::vector<std::vector<Continuation>>> found;
    for (PromptGroup& group : groups_) found.push_back(std::move(group.found()));
    return found;
  }

 private:
  int64_t ranks() const { return sharing_.size(); }
  at::TensorOptions options() const {
    return at::device(device_).dtype(compute_type(config_, device_));
  }
  int64_t decoding_rows(std::span<const GenerationGroup> groups) const {
    int64_t most = 1;
    for (const GenerationGroup& group : groups) most = std::max(most, group.plan.rows);
    return most * std::ssize(generator_.settings_.streams);
  }
  int64_t most_rows(std::span<const GenerationGroup> groups) const {
    int64_t most = decoding_rows(groups);
    for (const GenerationGroup& group : groups) most = std::max(most, group.plan.prompt_tokens);
    return most;
  }

  GenerationProgress sum() const {
    GenerationProgress all;
    for (const PromptGroup& group : groups_) {
      all.finished += group.finished();
      all.continuations += group.continuations();
      all.tokens += group.tokens();
    }
    return all;
  }

  // The group that a rank has in a turn; its batch is empty where it has none yet, or no more.
  size_t group_of(int64_t turn, int64_t rank) const {
    return static_cast<size_t>((turn - rank + ranks()) % ranks());
  }
  bool has_rows(size_t group) const { return !batches_[group].ids.empty(); }

  void take_turn(int64_t turn) {
    const size_t first = group_of(turn, 0), own = group_of(turn, sharing_.rank()),
                 last = group_of(turn, ranks() - 1);
    batches_[first] = groups_[first].next();
    if (has_rows(own)) pass_layers(batches_[own]);
    if (!batches_[last].sequences.empty())
      groups_[last].take(next_tokens(batches_[last]), batches_[last], end_);
    batches_[last] = {};
    pass_on(turn);
    sharing_.check();
  }

  at::Tensor rows_of(const StepBatch& batch) const {
    return hidden_.narrow(0, 0, std::ssize(batch.ids));
  }

  void pass_layers(const StepBatch& batch) {
    const at::Tensor hidden = rows_of(batch);
    if (sharing_.rank() == 0) {
      const at::Tensor ids = at::tensor(batch.ids, at::kInt).to(device_);
      at::Tensor embedded = hidden;
      at::index_select_out(embedded, generator_.embedding_, 0, ids);
    }
    StepVisitor visitor(batch.is_decoding ? decoding_context_ : prompt_context_, hidden,
                        at::cat(batch.positions), batch.parts, workspace_, faults_);
    generator_.pass_layers(visitor);
    faults_.check_all();
  }

  // Each rank's rows become the next one's.
  void pass_on(int64_t turn) {
    size_t rows = 0;
    for (int64_t rank = 0; rank + 1 < ranks(); ++rank)
      rows = std::max(rows, batches_[group_of(turn, rank)].ids.size());
    if (rows == 0) return;
    const auto bytes = [&](const at::Tensor& buffer) {
      return buffer.narrow(0, 0, static_cast<int64_t>(rows)).view(-1).view(at::kByte);
    };
    sharing_.pass_on(bytes(hidden_), bytes(taken_));
    std::swap(hidden_, taken_);
  }

  bool is_last() const { return sharing_.rank() + 1 == ranks(); }

  // The likeliest token behind each of a batch's sequences, which the last rank finds.
  std::vector<int32_t> next_tokens(const StepBatch& batch) {
    const auto count = std::ssize(batch.sequences);
    const at::Tensor all = at::empty({ranks(), count}, at::device(device_).dtype(at::kInt));
    if (is_last()) all[-1].copy_(likeliest(batch));
    sharing_.all_gather(all.view(-1).view(at::kByte));
    const at::Tensor ids = all[-1].to(at::kCPU);
    return {ids.const_data_ptr<int32_t>(), ids.const_data_ptr<int32_t>() + count};
  }

  at::Tensor likeliest(const StepBatch& batch) {
    const at::Tensor rows =
        batch.last_rows.empty() ? at::Tensor() : at::tensor(batch.last_rows, at::kLong).to(device_);
    const at::Tensor hidden = rows_of(batch);
    std::vector<at::Tensor> found;
    const auto bad = generator_.head_->run(
        {&hidden, 1}, rows, [&](int64_t /*first*/, const std::vector<at::Tensor>& logits) {
          found.push_back(logits.front().argmax(-1));
        });
    if (bad) throw Error("generation: the last layer's output holds NaN or Inf");
    return at::cat(found);
  }

  const Generator& generator_;
  Communicator& sharing_;
  const ModelConfig& config_;
  const c10::Device device_;
  const TextEnd end_;
  std::vector<PromptGroup> groups_;
  std::vector<StepBatch> batches_;  // of the groups, on their way
  const int64_t most_rows_;
  Faults faults_;
  const LayerContext prompt_context_;
  LayerContext decoding_context_;
  LayerWorkspace workspace_;
  at::Tensor hidden_, taken_;  // [most rows, hidden]: this rank's rows, and room for the next
};

Generator::Generator(const WeightDirectory& directory, GenerationSettings settings,
                     const PassSettings& pass, Communicator& communicator)
    : directory_(directory),
      settings_(std::move(settings)),
      pass_(pass),
      no_others_(Rank{}),
      alone_(make_communicator({}, pass.device, no_others_)),
      sharing_(settings_.place == WeightPlace::kDivided ? &communicator : alone_.get()) {
  const c10::InferenceMode inference;
  if (sharing_->rank() == 0) embedding_ = read_embedding(directory, pass.device);
  if (sharing_->rank() + 1 == sharing_->size()) {
    head_.emplace(directory, pass.device, pass.trace);
    head_->keep_packed();
  }
  if (settings_.place != WeightPlace::kFiles)
    resident_ = std::make_unique<ResidentLayers>(
        directory_, own_layers(), pass_,
        settings_.place == WeightPlace::kDivided ? *alone_ : communicator);
}

Generator::~Generator() = default;

LayerRange Generator::own_layers() const {
  return layers_of_rank(directory_.config(), sharing_->rank(), sharing_->size());
}

void Generator::pass_layers(LayerVisitor& visitor) const {
  if (resident_ != nullptr)
    run_layers(*resident_, own_layers(), visitor);
  else
    LayerPass(directory_, pass_, *alone_).run(visitor, 0, {});
}

std::vector<std::vector<std::vector<Continuation>>> Generator::run(
    std::span<const GenerationGroup> groups, const Rotation& rotation, int64_t length,
    const IsSettled& is_settled, const std::function<void(const GenerationProgress&)>& progress) {
  const c10::InferenceMode inference;
  return Run(*this, groups, rotation, length, is_settled).run(progress);
}

}  // namespace kvcalib
