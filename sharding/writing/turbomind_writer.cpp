// SPDX-License-Identifier: Apache-2.0
#include "sharding/writing/turbomind_writer.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "kernels/strided_copy16.h"
#include "sharding/files/error.h"
#include "sharding/files/new_file.h"
#include "sharding/files/seconds_since.h"
#include "sharding/files/workers.h"
#include "sharding/formats/turbomind_layout.h"
#include "sharding/ranks/lone_communicator.h"
#include "sharding/streaming/image_reader.h"
#include "sharding/streaming/layer_stream.h"
#include "sharding/streaming/zero_weights.h"
#include "sharding/writing/table_rows.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kStripBytes = int64_t{1} << 20;  // made and written in turn: stays in the cache
constexpr int64_t kStripRows = 64;  // at least: a transposed source is read in whole cache lines

// Rows [first, first + count) of a matrix, into rows of `stride` elements.
void copy_rows(const WeightMatrix& matrix, int64_t first, int64_t count, uint16_t* target,
               int64_t stride) {
  for (const WeightBlock& block : matrix.blocks()) {
    const int64_t begin = std::max(first, block.row);
    const int64_t end = std::min(first + count, block.row + block.values.size(0));
    if (begin >= end) continue;
    const at::Tensor values =
        block.values.narrow(0, begin - block.row, end - begin).to(matrix.type());
    kernels::cpu::strided_copy16({.source = static_cast<const uint16_t*>(values.const_data_ptr()),
                                  .source_row_stride = values.stride(0),
                                  .source_column_stride = values.stride(1),
                                  .target = target + (begin - first) * stride + block.column,
                                  .target_row_stride = stride,
                                  .target_column_stride = block.column_step,
                                  .rows = values.size(0),
                                  .columns = values.size(1)});
  }
}

// The writing of one model: what all its files have in common.
class Writing {
 public:
  Writing(const fs::path& directory, const WritingObserver& observer)
      : directory_(directory), observer_(observer) {}

  // From now on what is written is looked at: rounded to this type, it may have overflowed.
  void check_overflow(ElementType type) { rounded_to_ = type; }

  // A file of `rows` rows of `width` elements; `fill(first, count, target)` makes some of them.
  using Fill = std::function<void(int64_t first, int64_t count, uint16_t* target)>;
  void write(const std::string& name, int64_t rows, int64_t width, const Fill& fill) {
    const int64_t row_bytes = width * static_cast<int64_t>(kTurboMindElementBytes);
    const int64_t most =
        std::min(rows, std::max(kStripRows, kStripBytes / row_bytes / kStripRows * kStripRows));
    std::vector<uint16_t> strip(static_cast<size_t>(most * width));
    NewFile file(directory_ / name);
    for (int64_t first = 0; first < rows; first += most) {
      if (observer_.stopped && observer_.stopped()) throw Error("stopped; nothing was written");
      const int64_t count = std::min(most, rows - first);
      fill(first, count, strip.data());
      const auto made = std::as_bytes(std::span(strip.data(), static_cast<size_t>(count * width)));
      if (rounded_to_ && !all_finite(made, *rounded_to_))
        throw Error(concat(name, ": the model has a value here that overflows float16; take a ",
                           "release that serves bfloat16"));
      file.append(made);
      bytes_written_ += static_cast<uint64_t>(count * row_bytes);
    }
    file.finish();
  }

  void tell(int64_t layers_done, int64_t layers, uint64_t bytes) const {
    if (!observer_.progress) return;
    observer_.progress({layers_done, layers, bytes_written_, bytes, seconds_since(start_)});
  }

 private:
  const fs::path& directory_;
  const WritingObserver& observer_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::atomic<uint64_t> bytes_written_{0};
  std::optional<ElementType> rounded_to_;
};

using Task = std::function<void()>;

// A task at a time for each thread: a file system lets one write to a file, several to several.
void run_tasks(const std::vector<Task>& tasks, int64_t threads) {
  run_workers(tasks.size(), threads, [&](int64_t /*worker*/, size_t i) {
    const c10::InferenceMode inference;  // thread-local
    tasks[i]();
    return true;
  });
}

std::vector<Task> table_tasks(Writing& writing, const WeightDirectory& source,
                              const TurboMindCut& cut) {
  const int64_t hidden = source.config().hidden;
  const int64_t kept = std::min(rows_without_padding(source), cut.table_rows);
  const auto task = [&writing, &source, &cut, hidden](const char* name, const EmbeddingTable& table,
                                                      int64_t table_rows, int64_t rows) {
    return [=, &writing, &source, &cut] {
      refuse_zeros(table, source.config());
      const TableRows reader(table, hidden, cut.type);
      writing.write(name, rows, hidden, [&](int64_t first, int64_t count, uint16_t* target) {
        const int64_t real = std::clamp<int64_t>(table_rows - first, 0, count);
        reader.read(first, real, target);
        std::fill(target + real * hidden, target + count * hidden, uint16_t{0});
      });
    };
  };
  EmbeddingTable head = source.head();
  head.normalise_rows = head.normalise_rows && cut.normalise_head;
  return {task(kTurboMindEmbedding, source.embedding(), kept, cut.table_rows),
          task(kTurboMindHead, head, kept, cut.table_rows),
          task(kTurboMindFinalNorm, source.final_norm(), 1, 1)};
}

// The whole tensor of which a file holds a part; zeros for an output bias that the family lacks.
WeightMatrix whole(LayerWeights& weights, const ModelConfig& config, LayerTensor tensor) {
  if (const WeightMatrix* const matrix = weights.matrix(tensor)) return *matrix;
  const at::Tensor& vector = *weights.vector(tensor);
  if (vector.defined()) return WeightMatrix(vector.unsqueeze(0));
  return WeightMatrix(
      at::zeros(tensor_shape(config, tensor).second, scalar_type(element_type(config.weight_type)))
          .unsqueeze(0));
}

std::vector<Task> layer_tasks(Writing& writing, LayerWeights& weights, const ModelConfig& config,
                              const std::vector<TurboMindLayerFile>& files, int64_t layer) {
  std::vector<Task> tasks;
  for (const TurboMindLayerFile& file : files) {
    tasks.push_back([&writing, &weights, &config, &file, layer] {
      const WeightMatrix matrix = whole(weights, config, file.tensor);
      std::vector<std::pair<int64_t, WeightMatrix>> parts;  // and where they begin
      int64_t width = 0;
      for (const ColumnSpan& span : file.columns) {
        parts.emplace_back(width, matrix.narrow(span.first, span.count));
        width += span.count;
      }
      writing.write(file.name_in(layer), file.rows, width,
                    [&](int64_t first, int64_t count, uint16_t* target) {
                      for (const auto& [begin, part] : parts)
                        copy_rows(part, file.first_row + first, count, target + begin, width);
                    });
    });
  }
  return tasks;
}

// Whether some weight is stored in another type than it is written in.
bool is_rounded(const WeightDirectory& source, WeightType type) {
  for (int64_t layer = 0; layer < source.config().layers; ++layer) {
    for (const FileRange& range : source.layer_plan(layer).ranges) {
      if (range.type != element_type(type)) return true;
    }
  }
  return source.embedding().type != element_type(type) || source.head().type != element_type(type);
}

int64_t threads_of_this_machine() {
  return std::clamp<int64_t>(std::thread::hardware_concurrency() / 2, 2, 8);
}

}  // namespace

std::vector<TurboMindFile> turbomind_files(const ModelConfig& config, const TurboMindCut& cut) {
  const uint64_t table_bytes = turbomind_table_bytes(config, cut.table_rows);
  std::vector<TurboMindFile> files{{kTurboMindEmbedding, table_bytes},
                                   {kTurboMindHead, table_bytes},
                                   {kTurboMindFinalNorm, turbomind_table_bytes(config, 1)}};
  const std::vector<TurboMindLayerFile> of_layer = turbomind_layer_files(config, cut.ranks);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const TurboMindLayerFile& file : of_layer)
      files.push_back({file.name_in(layer), file.bytes()});
  }
  return files;
}

void write_turbomind_weights(const WeightDirectory& source, const TurboMindCut& cut,
                             const fs::path& directory, const WritingObserver& observer) {
  const c10::InferenceMode inference;
  at::set_num_threads(1);  // the threads here divide the work
  ModelConfig config = source.config();
  config.weight_type = cut.type;  // what is wider is rounded to it at once
  uint64_t bytes = 0;
  for (const TurboMindFile& file : turbomind_files(config, cut)) bytes += file.bytes;
  const std::vector<TurboMindLayerFile> files = turbomind_layer_files(config, cut.ranks);
  const int64_t threads = threads_of_this_machine();

  LoneCommunicator alone;
  LayerStream stream({.config = config,
                      .plan = [&](int64_t layer) { return source.layer_plan(layer); },
                      .compute_type = scalar_type(element_type(cut.type)),
                      .reading_threads = threads},
                     alone);
  Writing writing(directory, observer);
  if (is_rounded(source, cut.type)) writing.check_overflow(element_type(cut.type));
  run_tasks(table_tasks(writing, source, cut), threads);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    LayerWeights weights = stream.next();
    run_tasks(layer_tasks(writing, weights, config, files, layer), threads);
    writing.tell(layer + 1, config.layers, bytes);
  }
}

}  // namespace kvcalib
