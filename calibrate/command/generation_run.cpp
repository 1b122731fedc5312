// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/generation_run.h"

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

}  // namespace

GenerationRoom generation_room(const WeightDirectory& directory,
                               const std::vector<GenerationStream>& streams,
                               const c10::Device& device, int64_t ranks) {
  GenerationRoom room;
  room.device = device;
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

bool weights_fit(const ModelConfig& config, const std::vector<GenerationTask>& tasks,
                 const GenerationRoom& room, int64_t ranks) {
  bool all_fit = true;
  for (const GenerationTask& task : tasks)
    for (int64_t rank = 0; rank < ranks; ++rank)
      all_fit = all_fit && weights_fit(config, prompts_of_rank(task, rank, ranks), room);
  for (const GenerationTask& task : tasks)
    for (int64_t rank = 0; rank < ranks; ++rank)
      plan_generation(config, prompts_of_rank(task, rank, ranks), room, all_fit);
  return all_fit;
}

void generate(const WeightDirectory& directory, const Runtime& runtime,
              const GenerationRequest& request, const RankRun& run, const TellGeneration& tell,
              const TakeContinuations& take) {
  Communicator& communicator = *run.communicator;
  const ModelConfig& config = directory.config();
  const Tokenizer tokenizer(request.tokenizer);
  const GenerationRoom room =
      generation_room(directory, request.streams, run.settings.device, communicator.size());
  Generator generator(directory,
                      {.streams = request.streams,
                       .decoding = request.decoding,
                       .end = request.end,
                       .weights_stay = request.weights_stay},
                      run.settings, communicator);
  for (const GenerationTask& task : request.tasks) {
    const std::vector<GenerationPrompt> prompts =
        prompts_of_rank(task, communicator.rank(), communicator.size());
    if (prompts.empty()) {
      take(task, {});
      continue;
    }
    const AnswerRule rule(task.extract);
    const auto is_settled = [&](size_t /*prompt*/, size_t /*stream*/,
                                std::span<const int32_t> ids) {
      return rule.is_settled(tokenizer.decode(ids));
    };
    GenerationPlan plan = plan_generation(config, prompts, room, request.weights_stay);
    plan.length = request.length;
    const Clock::time_point start = Clock::now();
    take(task, generator.run(prompts, plan, runtime.rotation(config, plan.length), is_settled,
                             [&](const GenerationProgress& progress) {
                               if (tell)
                                 tell(progress_text(task.name, progress, start),
                                      progress.finished == progress.continuations);
                             }));
  }
}

TaskContinuations merged(const GenerationTask& task, std::vector<TaskContinuations> of_ranks) {
  TaskContinuations whole(task.prompts.size());
  for (size_t prompt = 0; prompt < whole.size(); ++prompt)
    whole[prompt] = std::move(of_ranks[prompt % of_ranks.size()].at(prompt / of_ranks.size()));
  return whole;
}

}  // namespace kvcalib
