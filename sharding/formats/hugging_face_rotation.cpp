// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/hugging_face_rotation.h"

#include <vector>

#include "sharding/formats/config_numbers.h"

namespace kvcalib {
namespace {

constexpr const char* kTheta = "rope_theta";
constexpr const char* kOriginalPositions = "original_max_position_embeddings";

// An object of the config that says how the model rotates; `name`: its key.
struct RotationObject {
  const char* name;
  JsonObject values;
};

// Those that the family's code looks at, the one that it takes first.
std::vector<RotationObject> rotation_objects(const JsonObject& config, const ModelFamily& family) {
  std::vector<RotationObject> found;
  for (const char* const name : {"rope_scaling", "rope_parameters", "rotary"}) {
    if (!reads(family, name)) continue;
    JsonObject values = config.object(name);
    if (!values.is_empty()) found.push_back({name, std::move(values)});
  }
  return found;
}

void check_whole_rotation(const JsonObject& object, std::string_view key) {
  if (object.number(key, 1.0) != 1.0)
    object.refuse(
        concat(key, " = ", object.shown(key), ", expected 1: partial rotation is not supported"));
}

// "" where the object says nothing of it.
std::string stated_kind(const JsonObject& rotation) {
  std::string kind = rotation.text("type", "");
  const std::string type = rotation.text("rope_type", kind);
  if (!kind.empty() && kind != type)
    rotation.refuse(concat("rope_type is '", type, "', and type is '", kind,
                           "': two names of one thing; take out the one that is wrong"));
  if (type.empty() && rotation.has("factor")) rotation.refuse("rope_type is missing");
  return type == "none" || type == "origin" ? "default" : type;
}

[[noreturn]] void refuse_pair(const JsonObject& config, std::string_view key,
                              const std::string& first, const std::string& second) {
  config.refuse(concat(key, " is ", first, ", and ", second, ": they disagree; take out the one ",
                       "that is wrong (the model's own code goes by the first)"));
}

// That two objects do not say different things of the scaling.
void check_agree(const JsonObject& config, const RotationObject& taken,
                 const RotationObject& other) {
  const auto in = [](const std::string& value, const RotationObject& place) {
    return concat(value, " in ", place.name);
  };
  const std::string kind = stated_kind(taken.values), other_kind = stated_kind(other.values);
  if (!other_kind.empty() && other_kind != (kind.empty() ? "default" : kind))
    refuse_pair(config, "rope_type", in(kind.empty() ? "not stated" : kind, taken),
                in(other_kind, other));
  for (const char* const key :
       {"factor", "low_freq_factor", "high_freq_factor", kOriginalPositions}) {
    if (!taken.values.has(key) || !other.values.has(key)) continue;
    if (taken.values.number(key) != other.values.number(key))
      refuse_pair(config, key, in(taken.values.shown(key), taken),
                  in(other.values.shown(key), other));
  }
}

// The base that the family's code takes, once all places that state one agree.
double read_theta(const JsonObject& config, const ModelFamily& family,
                  const std::vector<RotationObject>& objects, double absent) {
  struct Statement {
    std::string place;
    double theta;
  };
  std::vector<Statement> statements;  // the one that counts first
  const auto add = [&](const JsonObject& values, std::string_view key, std::string place) {
    if (!key.empty() && values.has(key))
      statements.push_back({std::move(place), positive_number(values, key)});
  };
  const auto add_object = [&](const RotationObject& object) {
    add(object.values, family.rotation == RotationRule::kRotary ? "base" : kTheta,
        concat("in ", object.name));
  };
  if (!objects.empty()) add_object(objects.front());
  add(config, family.rope_theta_key, "outside");
  if (statements.empty()) statements.push_back({"by default", absent});
  for (size_t i = 1; i < objects.size(); ++i) add_object(objects[i]);
  const Statement& taken = statements.front();
  for (const Statement& other : statements) {
    if (other.theta != taken.theta)
      refuse_pair(config, kTheta, concat(taken.theta, ' ', taken.place),
                  concat(other.theta, ' ', other.place));
  }
  return taken.theta;
}

// transformers takes the one beside the object, where there is one.
int64_t read_original_positions(const JsonObject& config, const RotationObject& rotation) {
  if (!config.has(kOriginalPositions)) return positive(rotation.values, kOriginalPositions);
  const int64_t beside = positive(config, kOriginalPositions);
  if (rotation.values.has(kOriginalPositions) &&
      positive(rotation.values, kOriginalPositions) != beside)
    refuse_pair(config, kOriginalPositions, concat(beside, " outside"),
                concat(rotation.values.shown(kOriginalPositions), " in ", rotation.name));
  return beside;
}

RopeScaling read_llama3(const JsonObject& config, const RotationObject& rotation) {
  const JsonObject& values = rotation.values;
  RopeScaling scaling;
  scaling.kind = RopeScaling::Kind::kLlama3;
  scaling.factor = positive_number(values, "factor");
  scaling.low_frequency_factor = positive_number(values, "low_freq_factor");
  scaling.high_frequency_factor = positive_number(values, "high_freq_factor");
  scaling.original_positions = read_original_positions(config, rotation);
  if (scaling.high_frequency_factor <= scaling.low_frequency_factor)
    values.refuse(concat("high_freq_factor = ", scaling.high_frequency_factor,
                         ", expected more than low_freq_factor"));
  return scaling;
}

RopeScaling read_scaling(const JsonObject& config, const RotationObject& rotation,
                         const ModelFamily& family) {
  const JsonObject& values = rotation.values;
  for (const char* const layers : {"full_attention", "sliding_attention"}) {
    if (values.has(layers))
      values.refuse(concat("has the key ", layers, ": rotation by kinds of layers is not one of ",
                           family.architectures.front()));
  }
  const std::string kind = stated_kind(values);
  if (kind.empty() || kind == "default") return {};
  RopeScaling scaling;
  if (kind == "linear") {
    scaling.kind = RopeScaling::Kind::kLinear;
    scaling.factor = positive_number(values, "factor");
  } else if (kind == "dynamic") {
    scaling.kind = RopeScaling::Kind::kDynamic;
    if (family.rotation != RotationRule::kRotary)
      scaling.factor = positive_number(values, "factor");
    else if (values.has("scaling_factor"))  // another name for it, and a default
      scaling.factor = positive_number(values, "scaling_factor");
    scaling.original_positions = positive(config, family.positions_key);
  } else if (kind == "llama3" && family.rotation == RotationRule::kParameters) {
    return read_llama3(config, rotation);
  } else {
    values.refuse(concat("rope_type is '", kind,
                         "', expected default, linear, dynamic or llama3: other ways to scale ",
                         "rotary positions are not supported"));
  }
  return scaling;
}

}  // namespace

void read_rotation(const JsonObject& config, const ModelFamily& family, ModelConfig& model) {
  const std::vector<RotationObject> objects = rotation_objects(config, family);
  for (const std::string_view key : {"partial_rotary_factor", "rotary_pct"}) {
    if (!reads(family, key)) continue;
    check_whole_rotation(config, key);
    for (const RotationObject& object : objects) check_whole_rotation(object.values, key);
  }
  model.own_rotation = RopeScaling{};
  if (!objects.empty()) model.own_rotation = read_scaling(config, objects.front(), family);
  for (size_t i = 1; i < objects.size(); ++i) check_agree(config, objects.front(), objects[i]);
  model.rope_theta = read_theta(config, family, objects, model.rope_theta);
  if (family.rotation != RotationRule::kFlags) return;
  if (config.flag("use_dynamic_ntk", false)) {
    model.own_rotation->kind = RopeScaling::Kind::kQwen;
    model.own_rotation->original_positions = positive(config, family.positions_key);
  }
  model.use_logn_attention = config.flag("use_logn_attn", false);
}

}  // namespace kvcalib
