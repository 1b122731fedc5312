// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/verify_scales.h"

#include <algorithm>
#include <cmath>

#include "sharding/files/error.h"
#include "sharding/files/file_kind.h"
#include "sharding/files/metadata_file.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

// Int8 can say 0 within a step when -zero / scale lies here.  A range that ends at 0 gives 127.5
// (the ends of a range always lose half a step), or a little more where a tool computed in fp16.
constexpr float kHighestZero = 128.0f;
constexpr float kLowestZero = -129.0f;
constexpr int64_t kMostNamed = 16;  // files of a rank that are missing

// One look at the scale files of a directory.
class ScaleFileCheck {
 public:
  ScaleFileCheck(const ScaleFilePlace& place, VerifyReport& report)
      : place_(place), report_(report) {}

  ScaleFiles run() {
    collect();
    check_grid();
    for (const auto& [id, name] : files_) check_file(id, name);
    check_one_method();
    return std::move(bytes_);
  }

 private:
  template <typename... Parts>
  void fault(const Parts&... parts) {
    report_.faults.push_back(concat(parts...));
  }

  bool in_set(const ScaleFileId& id) const {
    return id.layer < report_.layers && id.rank < report_.serving_ranks;
  }

  void collect();
  void check_grid();
  void check_missing(int64_t rank);
  std::string effect() const;
  void check_file(const ScaleFileId& id, const std::string& name);
  void check_scale(const std::string& name, const char* tensor, float scale, float zero);
  void check_one_method();

  const ScaleFilePlace& place_;
  VerifyReport& report_;
  std::map<ScaleFileId, std::string> files_;  // names
  ScaleFiles bytes_;
};

void ScaleFileCheck::collect() {
  for (const std::string& name : place_.names) {
    if (!is_scale_file_name(name)) continue;
    if (kind_behind(place_.directory / name) == FileKind::kNothing) continue;
    if (const auto id = parse_scale_file_name(name)) {
      files_[*id] = name;
    } else {
      fault(name, ": no name the runtime reads (", scale_file_name(0, 0), "); rename or remove it");
    }
  }
}

// Compares the files that are there with layers x serving ranks.
void ScaleFileCheck::check_grid() {
  if (files_.empty()) {
    fault(place_.directory.string(), ": has no KV scale files; calibrate it, or copy them here");
    return;
  }
  if (!place_.knows_model) return;
  std::map<int64_t, int64_t> ranks, layers;  // how many files each has
  for (const auto& [id, name] : files_) {
    ++ranks[id.rank];
    if (id.layer >= report_.layers) ++layers[id.layer];
  }
  int64_t served = 0;
  for (const auto& [rank, count] : ranks) {
    if (rank < report_.serving_ranks) {
      check_missing(rank);
      ++served;
    } else {
      fault("rank ", rank, ": has ", count, " scale files, but ", report_.serving_ranks,
            " ranks are served: scales cut for more ranks clip the values of fewer; export again ",
            "with --serving-tp ", report_.serving_ranks, ", or verify with what is served");
    }
  }
  if (served < report_.serving_ranks) {
    fault(served, " of ", report_.serving_ranks, " serving ranks have scale files: ", effect(),
          "; export them with --serving-tp ", report_.serving_ranks);
  }
  for (const auto& [layer, count] : layers) {
    fault("layer ", layer, ": has ", count, " scale files, but num_layer = ", report_.layers,
          ": no layer reads them; remove them, or correct num_layer");
  }
}

// What the runtime does without a scale file.
std::string ScaleFileCheck::effect() const {
  return concat(place_.release.name(), place_.release.crashes_without_scales
                                           ? " would crash"
                                           : " would silently take scale 1 and zero 0");
}

// Names the layers that a rank lacks; ends early however many layers config.ini claims.
void ScaleFileCheck::check_missing(int64_t rank) {
  int64_t missing = report_.layers;
  for (const auto& [id, name] : files_) missing -= id.rank == rank && id.layer < report_.layers;
  int64_t named = 0;
  for (int64_t layer = 0; named < std::min(missing, kMostNamed); ++layer) {
    if (files_.contains({layer, rank})) continue;
    fault(scale_file_name(layer, rank), ": missing: ", effect(), "; calibrate or export again");
    ++named;
  }
  if (missing > named) {
    fault("rank ", rank, ": ", missing - named, " more scale files are missing");
  }
}

void ScaleFileCheck::check_file(const ScaleFileId& id, const std::string& name) {
  std::string bytes;
  try {
    bytes = read_metadata_file(place_.directory / name);
  } catch (const Error& failure) {
    fault(failure.what());
    return;
  }
  const auto expected = static_cast<size_t>(place_.release.scale_values) * sizeof(float);
  if (bytes.size() != expected) {
    fault(name, ": has ", bytes.size(), " bytes, ", place_.release.name(), " reads ", expected,
          "; export again with --runtime ", place_.release.name());
    return;
  }
  const KvScale scale = *parse_scale_file(bytes);
  if (scale == KvScale{}) {
    fault(name, ": scale 1 and zero 0 for K and V, which is what no calibration gives");
    return;
  }
  check_scale(name, "K", scale.k_scale, scale.k_zero);
  check_scale(name, "V", scale.v_scale, scale.v_zero);
  if (in_set(id)) bytes_[id] = std::move(bytes);
}

void ScaleFileCheck::check_scale(const std::string& name, const char* tensor, float scale,
                                 float zero) {
  if (!std::isfinite(scale) || !std::isfinite(zero)) {
    fault(name, ": ", tensor, " has scale ", scale, " and zero ", zero,
          "; expected finite numbers");
  } else if (scale <= 0.0f) {
    fault(name, ": ", tensor, " has scale ", scale, "; expected a positive number");
  } else if (const float steps = -zero / scale; steps > kHighestZero || steps < kLowestZero) {
    fault(name, ": ", tensor, " has scale ", scale, " and zero ", zero, ": its int8 range [",
          zero - 128.0f * scale, ", ", zero + 127.0f * scale, "] does not hold 0");
  }
}

// A symmetric file among asymmetric ones is of another run.
void ScaleFileCheck::check_one_method() {
  std::vector<std::string> symmetric;
  bool asymmetric = false;
  for (const auto& [id, bytes] : bytes_) {
    const KvScale scale = *parse_scale_file(bytes);
    const bool centred = scale.k_zero == 0.0f && scale.v_zero == 0.0f;
    const bool degenerate = scale.k_scale <= kSmallestScale && scale.v_scale <= kSmallestScale;
    asymmetric = asymmetric || !centred;
    if (centred && !degenerate) symmetric.push_back(scale_file_name(id.layer, id.rank));
  }
  if (!asymmetric) return;
  for (const std::string& name : symmetric) {
    fault(name, ": symmetric among asymmetric scales; the files are of different runs");
  }
}

}  // namespace

ScaleFiles check_scale_files(const ScaleFilePlace& place, VerifyReport& report) {
  return ScaleFileCheck(place, report).run();
}

}  // namespace kvcalib
