// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/equalised_tree.h"

#include <algorithm>
#include <array>
#include <set>
#include <thread>

#include "calibrate/command/disk_space.h"
#include "calibrate/output/file_operations.h"
#include "calibrate/runtimes/runtime_table.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/ranged_file.h"
#include "sharding/files/workers.h"
#include "sharding/formats/turbomind_layout.h"
#include "sharding/formats/weight_files.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

// Of weights in other formats, which would be those of before.
constexpr std::array<std::string_view, 8> kOtherWeights = {
    ".safetensors", ".bin", ".pt", ".pth", ".gguf", ".ckpt", ".h5", ".msgpack"};

bool is_other_weights(const std::string& name) {
  return std::find(kOtherWeights.begin(), kOtherWeights.end(), fs::path(name).extension()) !=
         kOtherWeights.end();
}

// What a calibration of the weights before has written.
bool is_result(const OutputNames& names, const std::string& name) {
  return (names.is_ours(name) && name != names.backed_up) ||
         name.starts_with(names.backed_up + ".backup");
}

std::set<std::string> names_of_weights(const WeightDirectory& weights) {
  std::set<std::string> names;
  for (const fs::path& file : weight_files(weights)) names.insert(file.filename().string());
  return names;
}

// Smaller files are copied: some programs write into those that are there, as into config.ini.
constexpr uint64_t kFewestLinkedBytes = uint64_t{64} << 10;

// A second name for a file; false where there is no such thing.
bool link_file(const fs::path& from, const fs::path& to) {
  std::error_code failure;
  fs::create_hard_link(from, to, failure);
  return !failure;
}

}  // namespace

EqualisedTree plan_tree(const WeightDirectory& weights) {
  const OutputNames results = delivery_names(find_runtime(kTurboMind));
  const std::set<std::string> own = names_of_weights(weights);
  EqualisedTree tree;
  tree.tensors = equalised_tensors(weights);
  for (const std::string& name : list_directory(weights.path())) {
    const fs::path path = weights.path() / name;
    if (results.tells_of_a_set(name)) {
      tree.scales.push_back(name);
    } else if (kind_behind(path) != FileKind::kFile ||
               (!own.contains(name) && (is_result(results, name) || is_other_weights(name)))) {
      tree.left_out.push_back(name);
    } else {
      const uint64_t bytes = RangedFile(path).bytes();
      tree.bytes += bytes;
      if (tree.tensors.contains(name))
        tree.changed_bytes += bytes;
      else
        tree.same.push_back(name);
    }
  }
  return tree;
}

void write_tree(const WeightDirectory& weights, const EqualisedTree& tree,
                const std::vector<LayerFactors>& layers, const fs::path& folder, bool linked,
                const TreeObserver& observer) {
  std::vector<std::string> names;
  for (const auto& [name, tensors] : tree.tensors) names.push_back(name);
  names.insert(names.end(), tree.same.begin(), tree.same.end());
  const auto told = [&](uint64_t bytes) {
    if (observer.stopped && observer.stopped()) throw Error("stopped; nothing was written");
    if (observer.written) observer.written(bytes);
  };
  const auto threads = std::clamp<int64_t>(std::thread::hardware_concurrency() / 2, 2, 8);
  run_workers(names.size(), threads, [&](int64_t /*worker*/, size_t i) {
    const fs::path from = weights.path() / names[i], to = folder / names[i];
    const auto found = tree.tensors.find(names[i]);
    const bool changes = found != tree.tensors.end();
    if (linked && !changes) {
      if (const auto target = link_target(from)) {
        make_symbolic_link(*target, to);
        return true;
      }
      if (RangedFile(from).bytes() >= kFewestLinkedBytes && link_file(from, to)) return true;
    }
    write_new_file(to, [&](ByteSink& sink) {
      copy_equalised(weights, from, changes ? found->second : std::vector<EqualisedTensor>{},
                     layers, told, sink);
    });
    if (linked) copy_permissions(from, to);
    return true;
  });
}

}  // namespace kvcalib
