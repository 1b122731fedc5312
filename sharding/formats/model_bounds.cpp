// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/model_bounds.h"

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr double kLargestBase = 1e15;  // of a rotation
constexpr double kLargestFactor = kLargestSize;

// Refuses numbers by the names that a file has for them.
class Bounds {
 public:
  explicit Bounds(const std::string& origin) : origin_(origin) {}

  void whole(const char* key, int64_t value, int64_t least, int64_t most) const {
    if (value < least || value > most)
      refuse(key, " = ", value, ", expected a whole number from ", least, " to ", most);
  }
  void above_zero(const char* key, double value, double most) const {
    if (!(value > 0 && value <= most))
      refuse(key, " = ", value, ", expected > 0 and at most ", most);
  }
  void divides(const char* key, int64_t value, const char* by, int64_t divisor) const {
    if (value % divisor != 0)
      refuse(key, " = ", value, " is not divisible by ", by, " = ", divisor);
  }
  [[noreturn]] void refuse(const auto&... what) const {
    throw Error(concat(origin_, ": ", what...));
  }

 private:
  const std::string& origin_;
};

// In floating point, which does not wrap.
double elements(const ModelConfig& model) {
  const auto hidden = static_cast<double>(model.hidden);
  const auto projected = static_cast<double>(2 * (model.heads + model.kv_heads) * model.head_dim);
  const auto inner = static_cast<double>(3 * model.intermediate);
  return hidden * (static_cast<double>(model.layers) * (projected + inner) +
                   static_cast<double>(2 * model.vocab));
}

void check_scaling(const RopeScaling& scaling, const Bounds& bounds) {
  using Kind = RopeScaling::Kind;
  const Kind kind = scaling.kind;
  bounds.above_zero("own_rotation: factor", scaling.factor, kLargestFactor);
  const bool needs_positions =
      kind == Kind::kDynamic || kind == Kind::kLlama3 || kind == Kind::kQwen;
  bounds.whole("own_rotation: original_positions", scaling.original_positions,
               needs_positions ? 1 : 0, kLargestSize);
  if (kind != Kind::kLlama3) return;
  bounds.above_zero("own_rotation: low_frequency_factor", scaling.low_frequency_factor,
                    kLargestFactor);
  bounds.above_zero("own_rotation: high_frequency_factor", scaling.high_frequency_factor,
                    kLargestFactor);
  if (scaling.high_frequency_factor <= scaling.low_frequency_factor)
    bounds.refuse("own_rotation: high_frequency_factor = ", scaling.high_frequency_factor,
                  ", expected more than low_frequency_factor = ", scaling.low_frequency_factor);
}

}  // namespace

void check_model(const ModelConfig& model, const ModelKeys& keys, const std::string& origin) {
  const Bounds bounds(origin);
  bounds.whole(keys.layers, model.layers, 1, kMostLayers);
  bounds.whole(keys.heads, model.heads, 1, kMostHeads);
  bounds.whole(keys.kv_heads, model.kv_heads, 1, kMostHeads);
  if (model.head_dim < 2 || model.head_dim % 2 != 0 || model.head_dim > kLargestHeadDim)
    bounds.refuse(keys.head_dim, " = ", model.head_dim, ", expected an even number up to ",
                  kLargestHeadDim);
  bounds.whole(keys.hidden, model.hidden, 1, kLargestSize);
  bounds.whole(keys.intermediate, model.intermediate, 1, kLargestSize);
  bounds.whole(keys.vocab, model.vocab, 1, kLargestSize);
  bounds.whole(keys.stored_ranks, model.stored_ranks, 1, kMostStoredRanks);
  bounds.divides(keys.heads, model.heads, keys.kv_heads, model.kv_heads);
  bounds.divides(keys.heads, model.heads, keys.stored_ranks, model.stored_ranks);
  bounds.divides(keys.kv_heads, model.kv_heads, keys.stored_ranks, model.stored_ranks);
  bounds.divides(keys.intermediate, model.intermediate, keys.stored_ranks, model.stored_ranks);
  if (elements(model) > static_cast<double>(kMostElements))
    bounds.refuse(keys.layers, " = ", model.layers, ", ", keys.hidden, " = ", model.hidden, ", ",
                  keys.intermediate, " = ", model.intermediate, " and ", keys.vocab, " = ",
                  model.vocab, " make a model of ", elements(model), " elements, expected at most ",
                  kMostElements);

  bounds.whole(keys.sliding_window, model.sliding_window, 0, kLargestSize);
  bounds.whole(keys.max_position_embeddings, model.max_position_embeddings, 0, kLargestSize);
  bounds.whole(keys.session_length, model.session_length, 0, kLargestSize);
  bounds.above_zero(keys.norm_eps, model.norm_eps, 1.0);
  bounds.above_zero(keys.rope_theta, model.rope_theta, kLargestBase);
  if (!(model.rope_scaling_factor >= 0 && model.rope_scaling_factor <= kLargestFactor))
    bounds.refuse(keys.rope_scaling_factor, " = ", model.rope_scaling_factor,
                  ", expected 0 (none) or a factor up to ", kLargestFactor);
  if (model.own_rotation) check_scaling(*model.own_rotation, bounds);
}

}  // namespace kvcalib
