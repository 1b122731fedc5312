// SPDX-License-Identifier: Apache-2.0
#include "calibrate/equalise/equalised_files.h"

#include <algorithm>
#include <span>

#include "calibrate/equalise/weight_axis.h"
#include "sharding/files/error.h"
#include "sharding/files/ranged_file.h"

namespace kvcalib {
namespace {

constexpr uint64_t kPieceBytes = uint64_t{1} << 20;

// Reads a file in pieces and hands them on.
class Copy {
 public:
  Copy(const std::filesystem::path& file, const std::function<void(uint64_t bytes)>& told,
       ByteSink& sink)
      : file_(file), told_(told), sink_(sink) {}

  uint64_t bytes() const { return file_.bytes(); }

  // Bytes [first, last); change(piece, bytes before it since first) before each goes on.
  template <typename Change>
  void part(uint64_t first, uint64_t last, const Change& change) {
    for (uint64_t at = first; at < last;) {
      const auto piece = std::span(buffer_).first(std::min(kPieceBytes, last - at));
      file_.read(at, piece);
      change(piece, at - first);
      sink_.append(piece);
      told_(piece.size());
      at += piece.size();
    }
  }

 private:
  const RangedFile file_;
  const std::function<void(uint64_t bytes)>& told_;
  ByteSink& sink_;
  std::vector<std::byte> buffer_ = std::vector<std::byte>(kPieceBytes);
};

}  // namespace

EqualisedTensors equalised_tensors(const WeightDirectory& weights) {
  EqualisedTensors files;
  for (int64_t layer = 0; layer < weights.config().layers; ++layer) {
    const LayerPlan plan = weights.layer_plan(layer);
    for (const FileRange& range : plan.ranges)
      if (weight_axis(plan, range, weights.config()))
        files[range.file.filename().string()].push_back({layer, range});
  }
  for (auto& [name, tensors] : files)
    std::sort(tensors.begin(), tensors.end(), [](const auto& left, const auto& right) {
      return left.range.offset < right.range.offset;
    });
  return files;
}

void copy_equalised(const WeightDirectory& weights, const std::filesystem::path& file,
                    const std::vector<EqualisedTensor>& tensors,
                    const std::vector<LayerFactors>& layers,
                    const std::function<void(uint64_t bytes)>& told, ByteSink& sink) {
  const auto as_it_is = [](std::span<std::byte> /*piece*/, uint64_t /*before*/) {};
  Copy copy(file, told, sink);
  uint64_t done = 0;
  for (const EqualisedTensor& tensor : tensors) {
    const FileRange& range = tensor.range;
    const WeightAxis axis = *weight_axis(weights.layer_plan(tensor.layer), range, weights.config());
    const std::vector<double> factors =
        axis_factors(axis.tensor, weights.config(), layers[static_cast<size_t>(tensor.layer)]);
    copy.part(done, range.offset, as_it_is);
    done = range.offset + range.bytes;
    copy.part(range.offset, done, [&](std::span<std::byte> piece, uint64_t before) {
      if (!multiply_weights(piece, before / element_bytes(range.type), axis, factors))
        throw Error(concat(file.string(), range.name.empty() ? "" : ": tensor ", range.name,
                           ": holds NaN or Inf, or a weight that its factor makes one; deploy the ",
                           "model again, or calibrate with more windows"));
    });
  }
  copy.part(done, copy.bytes(), as_it_is);
}

}  // namespace kvcalib
