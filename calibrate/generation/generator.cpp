// SPDX-License-Identifier: Apache-2.0
#include "calibrate/generation/generator.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "calibrate/engine/compute_type.h"
#include "calibrate/engine/embedding.h"
#include "calibrate/engine/layer_pass.h"
#include "calibrate/generation/generation_step.h"
#include "calibrate/generation/sequences.h"
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

// One call's sequences on their way.
class Generator::Run {
 public:
  Run(const Generator& generator, std::span<const GenerationPrompt> prompts,
      const GenerationPlan& plan, const Rotation& rotation, const IsSettled& is_settled)
      : generator_(generator),
        plan_(plan),
        config_(generator.directory_.config()),
        device_(generator.pass_.device),
        is_settled_(is_settled),
        prompts_(prompts),
        found_(prompts.size()),
        faults_(config_.layers, device_),
        prompt_context_(
            make_layer_context(config_, rotation, plan_.length, device_, generator.pass_.trace)),
        decoding_context_(prompt_context_),
        workspace_(config_, std::max(plan_.prompt_tokens, all_rows()),
                   generator.embedding_.options()) {
    decoding_context_.gemm_rows = gemm_rows(all_rows());
    for (std::vector<Continuation>& of_prompt : found_)
      of_prompt.resize(generator.settings_.streams.size());
    for (const GenerationStream& stream : generator.settings_.streams)
      streams_.push_back(std::make_unique<StreamSequences>(
          streams_.size(),
          StreamCache(stream.format, generator.settings_.decoding, config_, plan_.blocks, device_),
          prompts, plan_));
  }

  std::vector<std::vector<Continuation>> run(
      const std::function<void(const GenerationProgress&)>& progress) {
    progress_.continuations = std::ssize(prompts_) * std::ssize(streams_);
    if (plan_.prefix_tokens > 0)
      for (const auto& stream : streams_)
        step(prompt_context_, prefix_batch(*stream, prompts_, device_));
    while (progress_.finished < progress_.continuations) {
      StepBatch entering = entering_batch(streams_, plan_, device_);
      if (!entering.ids.empty())
        step(prompt_context_, std::move(entering));
      else
        step(decoding_context_, decoding_batch(streams_, device_));
      if (progress) progress(progress_);
    }
    return std::move(found_);
  }

 private:
  int64_t all_rows() const { return plan_.rows * std::ssize(generator_.settings_.streams); }

  // Takes a batch through the layers and the tokens that it gives to its sequences.
  void step(const LayerContext& context, StepBatch batch) {
    const at::Tensor ids = at::tensor(batch.ids, at::kInt).to(device_);
    const at::Tensor hidden = generator_.embedding_.index_select(0, ids);
    StepVisitor visitor(context, hidden, at::cat(batch.positions), std::move(batch.parts),
                        workspace_, faults_);
    generator_.pass_layers(visitor);
    faults_.check_all();
    if (batch.sequences.empty()) return;
    const at::Tensor rows =
        batch.last_rows.empty() ? at::Tensor() : at::tensor(batch.last_rows, at::kLong).to(device_);
    const std::vector<int32_t> found = next_tokens(hidden, rows);
    for (size_t i = 0; i < found.size(); ++i) take_token(found[i], *batch.sequences[i]);
    take_finished();
  }

  // The likeliest token behind each of some rows; of all where `rows` is undefined.
  std::vector<int32_t> next_tokens(const at::Tensor& hidden, const at::Tensor& rows) {
    std::vector<at::Tensor> found;
    const auto bad = generator_.head_.run(
        {&hidden, 1}, rows, [&](int64_t /*first*/, const std::vector<at::Tensor>& logits) {
          found.push_back(logits.front().argmax(-1));
        });
    if (bad) throw Error("generation: the last layer's output holds NaN or Inf");
    const at::Tensor ids = at::cat(found).to(at::kCPU, at::kInt);
    return {ids.const_data_ptr<int32_t>(), ids.const_data_ptr<int32_t>() + ids.numel()};
  }

  void take_finished() {
    for (const auto& stream : streams_)
      for (const auto& sequence : stream->take_finished()) {
        found_[sequence->prompt][sequence->stream] = std::move(sequence->continuation);
        ++progress_.finished;
      }
  }

  void take_token(int32_t id, Sequence& sequence) {
    Continuation& found = sequence.continuation;
    ++progress_.tokens;
    if (id == generator_.settings_.end) {
      found.ended = true;
    } else {
      found.ids.push_back(id);
      found.settled = is_settled_ && is_settled_(sequence.prompt, sequence.stream, found.ids);
    }
    sequence.finished =
        found.ended || found.settled || std::ssize(found.ids) == prompts_[sequence.prompt].most_new;
  }

  const Generator& generator_;
  const GenerationPlan plan_;
  const ModelConfig& config_;
  const c10::Device device_;
  const IsSettled& is_settled_;
  const std::span<const GenerationPrompt> prompts_;
  std::vector<std::vector<Continuation>> found_;
  std::vector<std::unique_ptr<StreamSequences>> streams_;
  GenerationProgress progress_;
  Faults faults_;
  const LayerContext prompt_context_;
  LayerContext decoding_context_;
  LayerWorkspace workspace_;
};

Generator::Generator(const WeightDirectory& directory, GenerationSettings settings,
                     const PassSettings& pass, Communicator& communicator)
    : directory_(directory),
      settings_(std::move(settings)),
      pass_(pass),
      no_others_(Rank{}),
      alone_(make_communicator({}, pass.device, no_others_)),
      head_(directory, pass.device, pass.trace),
      embedding_(read_embedding(directory, pass.device)) {
  const c10::InferenceMode inference;
  head_.keep_packed();
  if (settings_.weights_stay)
    resident_ = std::make_unique<ResidentLayers>(directory_, pass_, communicator);
}

Generator::~Generator() = default;

void Generator::pass_layers(LayerVisitor& visitor) const {
  if (resident_ != nullptr)
    run_layers(*resident_, 0, directory_.config().layers, visitor);
  else
    LayerPass(directory_, pass_, *alone_).run(visitor, 0, {});
}

std::vector<std::vector<Continuation>> Generator::run(
    std::span<const GenerationPrompt> prompts, const GenerationPlan& plan, const Rotation& rotation,
    const IsSettled& is_settled, const std::function<void(const GenerationProgress&)>& progress) {
  const c10::InferenceMode inference;
  return Run(*this, prompts, plan, rotation, is_settled).run(progress);
}

}  // namespace kvcalib
