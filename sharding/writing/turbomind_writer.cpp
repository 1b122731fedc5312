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
#include "sharding/files/workers.h"
#include "sharding/ranks/make_communicator.h"
#include "sharding/ranks/rendezvous.h"
#include "sharding/streaming/image_reader.h"
#include "sharding/streaming/layer_stream.h"
#include "sharding/writing/table_rows.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kElementBytes = 2;
constexpr int64_t kStripBytes = int64_t{1} << 20;  // made and written in turn: stays in the cache
constexpr int64_t kStripRows = 64;  // at least: a transposed source is read in whole cache lines

// Columns of a whole tensor that a file holds side by side with others.
struct Columns {
  int64_t first = 0;
  int64_t count = 0;
};

// A file of a layer: the part of a whole tensor that it holds.
struct LayerFile {
  std::string name;
  LayerTensor tensor;
  int64_t first_row = 0;
  int64_t rows = 1;
  std::vector<Columns> columns;

  int64_t width() const {
    int64_t sum = 0;
    for (const Columns& part : columns) sum += part.count;
    return sum;
  }
  uint64_t bytes() const { return static_cast<uint64_t>(rows * width()) * kElementBytes; }
};

// One rank's columns of w_qkv: its q heads | its k heads | its v heads.
std::vector<Columns> qkv_columns(const ModelConfig& config, int64_t ranks, int64_t rank) {
  const int64_t q = config.heads * config.head_dim / ranks;
  const int64_t kv = config.kv_heads * config.head_dim / ranks;
  return {{rank * q, q}, {ranks * q + rank * kv, kv}, {ranks * (q + kv) + rank * kv, kv}};
}

void add_rank(std::vector<LayerFile>& files, const ModelConfig& config, int64_t ranks,
              int64_t rank) {
  const int64_t hidden = config.hidden;
  const int64_t out_rows = config.heads * config.head_dim / ranks;
  const int64_t inner = config.intermediate / ranks;
  const std::vector<Columns> qkv = qkv_columns(config, ranks, rank);
  const std::vector<Columns> all{{0, hidden}};
  const auto add = [&](const char* name, const char* kind, LayerTensor tensor, int64_t first_row,
                       int64_t rows, std::vector<Columns> columns) {
    files.push_back(
        {concat(name, '.', rank, '.', kind), tensor, first_row, rows, std::move(columns)});
  };
  add("attention.w_qkv", "weight", LayerTensor::kQkv, 0, hidden, qkv);
  add("attention.wo", "weight", LayerTensor::kOutput, rank * out_rows, out_rows, all);
  if (config.attention_bias) {
    add("attention.w_qkv", "bias", LayerTensor::kQkvBias, 0, 1, qkv);
    add("attention.wo", "bias", LayerTensor::kOutputBias, 0, 1, all);
  }
  add("feed_forward.w1", "weight", LayerTensor::kGateUp, 0, hidden, {{rank * inner, inner}});
  add("feed_forward.w3", "weight", LayerTensor::kGateUp, 0, hidden,
      {{config.intermediate + rank * inner, inner}});
  add("feed_forward.w2", "weight", LayerTensor::kDown, rank * inner, inner, all);
}

std::vector<LayerFile> layer_files(const ModelConfig& config, int64_t ranks) {
  std::vector<LayerFile> files;
  for (int64_t rank = 0; rank < ranks; ++rank) add_rank(files, config, ranks, rank);
  const std::vector<Columns> all{{0, config.hidden}};
  files.push_back({"attention_norm.weight", LayerTensor::kAttentionNorm, 0, 1, all});
  files.push_back({"ffn_norm.weight", LayerTensor::kFfnNorm, 0, 1, all});
  return files;
}

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
    const int64_t row_bytes = width * static_cast<int64_t>(kElementBytes);
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
    observer_.progress(
        {layers_done, layers, bytes_written_, bytes,
         std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count()});
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
  const auto task = [&writing, &cut, hidden](const char* name, const EmbeddingTable& table,
                                             int64_t table_rows, int64_t rows) {
    return [=, &writing, &cut] {
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
  return {task("tok_embeddings.weight", source.embedding(), kept, cut.table_rows),
          task("output.weight", head, kept, cut.table_rows),
          task("norm.weight", source.final_norm(), 1, 1)};
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
                              const std::vector<LayerFile>& files, int64_t layer) {
  std::vector<Task> tasks;
  for (const LayerFile& file : files) {
    tasks.push_back([&writing, &weights, &config, &file, layer] {
      const WeightMatrix matrix = whole(weights, config, file.tensor);
      std::vector<std::pair<int64_t, WeightMatrix>> parts;  // and where they begin
      int64_t width = 0;
      for (const Columns& columns : file.columns) {
        parts.emplace_back(width, matrix.narrow(columns.first, columns.count));
        width += columns.count;
      }
      writing.write(concat("layers.", layer, '.', file.name), file.rows, width,
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
  const auto vector_bytes = static_cast<uint64_t>(config.hidden) * kElementBytes;
  const uint64_t table_bytes = static_cast<uint64_t>(cut.table_rows) * vector_bytes;
  std::vector<TurboMindFile> files{{"tok_embeddings.weight", table_bytes},
                                   {"output.weight", table_bytes},
                                   {"norm.weight", vector_bytes}};
  const std::vector<LayerFile> of_layer = layer_files(config, cut.ranks);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const LayerFile& file : of_layer)
      files.push_back({concat("layers.", layer, '.', file.name), file.bytes()});
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
  const std::vector<LayerFile> files = layer_files(config, cut.ranks);
  const int64_t threads = threads_of_this_machine();

  const Rank rank;
  Rendezvous rendezvous(rank);
  const std::unique_ptr<Communicator> alone = make_communicator(rank, at::kCPU, rendezvous);
  LayerStream stream(
      config, [&](int64_t layer) { return source.layer_plan(layer); }, *alone, at::kCPU,
      scalar_type(element_type(cut.type)), threads);
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
