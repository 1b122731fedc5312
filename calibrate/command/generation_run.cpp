// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/generation_run.h"

#include <ATen/ops/full.h>

#include <algorithm>
#include <chrono>
#include <iomanip>
#include <limits>
#include <optional>
#include <utility>

#include "calibrate/command/host_memory.h"
#include "calibrate/data/tokenizer.h"
#include "calibrate/evaluate/answer_rules.h"
#include "sharding/files/error.h"
#include "sharding/files/seconds_since.h"
#include "sharding/streaming/device.h"

namespace kvcalib {
namespace {

using Clock = std::chrono::steady_clock;

// Of what is free: the rest is for what plans do not know.
constexpr uint64_t kPart = 9, kParts = 10;

std::string progress_text(const std::string& task, const GenerationProgress& progress,
                          Clock::time_point start) {
  return concat(task, ": answers ", progress.finished, " of ", progress.continuations, ", ",
                std::setprecision(3), static_cast<double>(progress.tokens) / seconds_since(start),
                " tokens/s");
}

// The least that any rank has, in whole MiB: ranks that share layers plan alike.
uint64_t agreed_bytes(uint64_t bytes, const c10::Device& device, Communicator& communicator) {
  constexpr int kMebibyte = 20;
  const at::Tensor least =
      at::full({1}, static_cast<double>(bytes >> kMebibyte), at::device(device).dtype(at::kFloat));
  communicator.all_reduce_minimum(least);
  return static_cast<uint64_t>(least.item<float>()) << kMebibyte;
}

}  // namespace

GenerationRoom generation_room(const WeightDirectory& directory,
                               const std::vector<GenerationStream>& streams,
                               const c10::Device& device, int64_t ranks) {
  GenerationRoom room;
  room.device = device;
  room.ranks = ranks;
  room.stored_layer_bytes = stored_layer_bytes(directory);
  for (const GenerationStream& stream : streams)
    ++(stream.format.kind == CacheFormat::Kind::kInt8 ? room.streams.int8
                                                      : room.streams.sixteen_bits);
  room.free_bytes = std::numeric_limits<uint64_t>::max() / kParts;
  if (device.is_cuda()) {
    set_gpu(device);
    room.free_bytes = gpu_memory().free_bytes / kParts * kPart;
  } else if (const std::optional<HostMemory> memory = host_memory("/")) {
    room.free_bytes = memory->free_bytes / static_cast<uint64_t>(ranks) / kParts * kPart;
  }
  return room;
}

WeightPlace place_weights(const ModelConfig& config, const std::vector<GenerationTask>& tasks,
                          const GenerationRoom& room) {
  std::vector<std::vector<GenerationPrompt>> groups;
  for (const GenerationTask& task : tasks)
    for (int64_t rank = 0; rank < room.ranks; ++rank)
      groups.push_back(prompts_of_rank(task, rank, room.ranks));
  const auto all_fit = [&](WeightPlace place) {
    return std::all_of(groups.begin(), groups.end(),
                       [&](const auto& prompts) { return fits(config, prompts, room, place); });
  };
  const WeightPlace place = all_fit(WeightPlace::kEveryDevice) ? WeightPlace::kEveryDevice
                            : all_fit(WeightPlace::kDivided)   ? WeightPlace::kDivided
                                                               : WeightPlace::kFiles;
  for (const auto& prompts : groups) plan_generation(config, prompts, room, place);
  return place;
}

namespace {

const char* where_weights_are(WeightPlace place) {
  switch (place) {
    case WeightPlace::kEveryDevice:
      return "the weights stay on every device";
    case WeightPlace::kDivided:
      return "the layers are divided among the ranks";
    case WeightPlace::kFiles:
      break;
  }
  return "the weights do not fit beside the caches: every token takes a reading of them";
}

// Measured when nobody holds weights any more or already.
GenerationRoom agreed_room(const WeightDirectory& directory, const GenerationRequest& request,
                           const RankRun& run) {
  Communicator& ranks = *run.communicator;
  ranks.barrier();
  GenerationRoom room =
      generation_room(directory, request.streams, run.settings.device, ranks.size());
  room.free_bytes = agreed_bytes(room.free_bytes, room.device, ranks);
  return room;
}

// Generates what of a task is a rank's own.
class TaskGenerator {
 public:
  TaskGenerator(const WeightDirectory& directory, const Runtime& runtime,
                const GenerationRequest& request, const RankRun& run)
      : config_(directory.config()),
        runtime_(runtime),
        request_(request),
        rank_(run.communicator->rank()),
        tokenizer_(request.tokenizer),
        room_(agreed_room(directory, request, run)),
        place_(place_weights(config_, request.tasks, room_)),
        generator_(directory,
                   {.streams = request.streams,
                    .decoding = request.decoding,
                    .end = request.end,
                    .place = place_},
                   run.settings, *run.communicator) {}

  WeightPlace place() const { return place_; }

  TaskContinuations run(const GenerationTask& task, const TellGeneration& tell) {
    const bool alone = generator_.groups() == 1;
    std::vector<std::vector<GenerationPrompt>> prompts;
    for (int64_t rank = 0; rank < room_.ranks; ++rank)
      if (!alone || rank == rank_) prompts.push_back(prompts_of_rank(task, rank, room_.ranks));
    const int64_t streams = room_.streams.all();
    std::vector<GenerationGroup> groups;
    for (const std::vector<GenerationPrompt>& own : prompts) {
      GenerationGroup& group = groups.emplace_back(GenerationGroup{own, {}});
      if (own.empty()) continue;
      group.plan = plan_generation(config_, own, room_, place_);
      // However many ranks and however much memory there are.
      group.plan.gemm_rows = useful_rows(std::ssize(task.prompts), streams, room_.device) * streams;
    }
    const AnswerRule rule(task.extract);
    const auto is_settled = [&](size_t /*prompt*/, size_t /*stream*/,
                                std::span<const int32_t> ids) {
      return rule.is_settled(tokenizer_.decode(ids));
    };
    const Clock::time_point start = Clock::now();
    auto found =
        generator_.run(groups, runtime_.rotation(config_, request_.length), request_.length,
                       is_settled, [&](const GenerationProgress& progress) {
                         if (tell)
                           tell(progress_text(task.name, progress, start),
                                progress.finished == progress.continuations);
                       });
    return std::move(found[alone ? 0 : static_cast<size_t>(rank_)]);
  }

 private:
  const ModelConfig& config_;
  const Runtime& runtime_;
  const GenerationRequest& request_;
  const int64_t rank_;
  const Tokenizer tokenizer_;
  const GenerationRoom room_;
  const WeightPlace place_;
  Generator generator_;
};

}  // namespace

void generate(const WeightDirectory& directory, const Runtime& runtime,
              const GenerationRequest& request, const RankRun& run, const TellGeneration& tell,
              const TakeContinuations& take) {
  TaskGenerator generator(directory, runtime, request, run);
  if (tell) tell(where_weights_are(generator.place()), true);
  for (const GenerationTask& task : request.tasks) take(task, generator.run(task, tell));
}

TaskContinuations merged(const GenerationTask& task, std::vector<TaskContinuations> of_ranks) {
  TaskContinuations whole(task.prompts.size());
  for (size_t prompt = 0; prompt < whole.size(); ++prompt)
    whole[prompt] = std::move(of_ranks[prompt % of_ranks.size()].at(prompt / of_ranks.size()));
  return whole;
}

}  // namespace kvcalib
