// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/hugging_face_directory.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "sharding/files/error.h"
#include "sharding/files/safetensors_header.h"
#include "sharding/formats/hugging_face_config.h"
#include "sharding/formats/model_surroundings.h"
#include "sharding/formats/unread_keys.h"

namespace kvcalib {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kImageAlignment = 256;

[[noreturn]] void refuse_without_safetensors(const fs::path& directory) {
  for (const auto& entry : fs::directory_iterator(directory)) {
    const fs::path extension = entry.path().extension();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth")
      throw Error(concat(entry.path().string(), ": is a pickle, expected model*.safetensors; save ",
                         "the model as such with transformers: AutoModelForCausalLM",
                         ".from_pretrained(FROM, torch_dtype=\"auto\").save_pretrained(TO, ",
                         "safe_serialization=True)"));
  }
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".safetensors")
      throw Error(concat(entry.path().string(),
                         ": is no model*.safetensors, which is what is read ",
                         "beside config.json, and there is none"));
  }
  throw Error(concat(directory.string(), ": holds no model*.safetensors beside config.json"));
}

ElementType element_type(const std::string& name, const TensorPlace& place) {
  if (place.dtype == "F16") return ElementType::kFloat16;
  if (place.dtype == "BF16") return ElementType::kBFloat16;
  if (place.dtype == "F32") return ElementType::kFloat32;
  throw Error(concat(place.file.string(), ": tensor '", name, "' has dtype ", place.dtype,
                     ", expected F16, BF16 or F32; take the model in one of these"));
}

bool is_known_buffer(std::string_view name) { return name.ends_with(".rotary_emb.inv_freq"); }

// As vLLM's tools and ModelOpt store them: a number for the fp8 cache of another runtime.
bool is_cache_scale(std::string_view name, const TensorPlace& place) {
  const bool one = place.shape.empty() || place.shape == std::vector<int64_t>{1};
  return one && (name.ends_with(".k_scale") || name.ends_with(".v_scale"));
}

void refuse_quantised_names(const SafetensorsIndex& index) {
  for (const auto& [name, place] : index.tensors) {
    if (name.ends_with(".qweight"))
      throw Error(concat(place.file.string(), ": tensor '", name, "' is of an int4 or int8 model: ",
                         "quantised weights cannot be calibrated; take the model in float16 or ",
                         "bfloat16"));
  }
}

// In which order the tensors lie in the files, so that reading goes forwards.
bool lies_before(const TensorPlace& left, const TensorPlace& right) {
  return std::tie(left.file, left.offset) < std::tie(right.file, right.offset);
}

}  // namespace

HuggingFaceDirectory::HuggingFaceDirectory(const fs::path& path, const JsonObject& config)
    : WeightDirectory(path),
      family_(read_family(config)),
      index_(read_safetensors_index(path)),
      names_(index_, family_, path.string()),
      tied_(config.flag("tie_word_embeddings", false)) {
  config_ = read_hugging_face_config(config, family_);
  warnings_ = check_surroundings(path, config, family_, index_);
  for (std::string& unread : unread_keys(config, family_, config_))
    warnings_.push_back(std::move(unread));
  if (index_.tensors.empty()) refuse_without_safetensors(path);
  refuse_quantised_names(index_);
  if (!stated_weight_type(config) && embedding().type == ElementType::kBFloat16)
    config_.weight_type = WeightType::kBFloat16;
  check_tensors();
}

std::unique_ptr<WeightDirectory> HuggingFaceDirectory::open(const fs::path& directory) {
  return std::unique_ptr<WeightDirectory>(
      new HuggingFaceDirectory(directory, JsonObject::read(directory / "config.json")));
}

std::vector<StoredTensor> HuggingFaceDirectory::tensors_of(int64_t layer) const {
  std::vector<StoredTensor> tensors = stored_tensors(config_, family_, layer);
  for (StoredTensor& tensor : tensors) tensor.name = names_.stored(tensor.name);
  return tensors;
}

void HuggingFaceDirectory::check_tensors() {
  embedding();
  final_norm();
  head();
  std::set<std::string_view> used;
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    for (const StoredTensor& tensor : tensors_of(layer)) {
      place(tensor.name, tensor.shape);
      used.insert(index_.tensors.find(tensor.name)->first);
    }
  }
  const std::string layers = names_.stored(concat(family_.layers, "."));
  int64_t cache_scales = 0;
  for (const auto& [name, where] : index_.tensors) {
    if (!name.starts_with(layers) || used.contains(name) || is_known_buffer(name)) continue;
    if (!is_cache_scale(name, where)) refuse_tensor(name, where);
    ++cache_scales;
  }
  if (cache_scales > 0)
    warnings_.push_back(concat(path_.string(), ": ", cache_scales, " tensors k_scale and v_scale ",
                               "are for the cache of another runtime; they are not read"));
}

// A tensor of a layer that is not one of those that the config calls for.
void HuggingFaceDirectory::refuse_tensor(const std::string& name, const TensorPlace& place) const {
  const bool of_mlp = name.find(".mlp.") != std::string::npos;
  const std::string_view key = of_mlp ? family_.mlp_bias_key : family_.bias_key;
  const bool is_bias = name.ends_with(".bias");
  const bool stated =
      is_bias && !key.empty() && !(of_mlp ? config_.mlp_bias : config_.attention_bias);
  throw Error(concat(place.file.string(), ": tensor '", name, "' is not one of a ",
                     family_.architectures.front(), " with ", config_.layers, " layers",
                     is_bias ? of_mlp ? " and no biases of the MLP" : " and no such biases" : "",
                     ", which config.json describes",
                     stated ? concat(" (", key, " is not true)") : ""));
}

const TensorPlace& HuggingFaceDirectory::place(const std::string& name,
                                               const std::vector<int64_t>& shape) const {
  const auto found = index_.tensors.find(name);
  if (found == index_.tensors.end())
    throw Error(concat(path_.string(), ": no safetensors file holds tensor '", name,
                       "', expected with shape ", shape_text(shape), " of the ",
                       family_.architectures.front(), " that config.json describes"));
  const TensorPlace& place = found->second;
  if (place.shape == std::vector<int64_t>{0})
    throw Error(concat(place.file.string(), ": tensor '", name, "' is empty (shape [0]), expected ",
                       shape_text(shape),
                       "; a model that was saved under DeepSpeed ZeRO-3 without ",
                       "being gathered is so: make the weights whole with its zero_to_fp32.py"));
  element_type(name, place);
  if (place.shape != shape)
    throw Error(concat(place.file.string(), ": tensor '", name, "' has shape ",
                       shape_text(place.shape), ", expected ", shape_text(shape),
                       " of the sizes in config.json"));
  return place;
}

bool HuggingFaceDirectory::has(std::string_view module) const {
  return index_.has(names_.stored(concat(module, ".weight")));
}

EmbeddingTable HuggingFaceDirectory::table(std::string_view module,
                                           const std::vector<int64_t>& shape) const {
  const std::string name = names_.stored(concat(module, ".weight"));
  const TensorPlace& where = place(name, shape);
  return {where.file, where.offset, shape.size() > 1 ? shape[0] : 1, element_type(name, where)};
}

// Of tied ones either may be stored; where both are, transformers leaves each its own.
EmbeddingTable HuggingFaceDirectory::embedding() const {
  const bool from_head = tied_ && !has(family_.embedding) && has(family_.head);
  return table(from_head ? family_.head : family_.embedding, {config_.vocab, config_.hidden});
}

EmbeddingTable HuggingFaceDirectory::head() const {
  const bool from_embedding = tied_ && !has(family_.head);
  EmbeddingTable head =
      from_embedding ? embedding() : table(family_.head, {config_.vocab, config_.hidden});
  head.normalise_rows = config_.vocab == family_.normalised_head_vocab;
  return head;
}

EmbeddingTable HuggingFaceDirectory::final_norm() const {
  return table(family_.final_norm, {config_.hidden});
}

LayerPlan HuggingFaceDirectory::layer_plan(int64_t layer) const {
  std::vector<StoredTensor> tensors = tensors_of(layer);
  std::sort(tensors.begin(), tensors.end(), [&](const auto& left, const auto& right) {
    return lies_before(index_.tensors.at(left.name), index_.tensors.at(right.name));
  });
  LayerPlan plan;
  for (const StoredTensor& tensor : tensors) {
    const TensorPlace& where = index_.tensors.at(tensor.name);
    const ElementType type = element_type(tensor.name, where);
    const int64_t in = tensor.shape.size() > 1 ? tensor.shape[1] : 1;
    plan.ranges.push_back(
        {where.file, where.offset, where.bytes, plan.image_bytes, type, tensor.name});
    for (const StoredRows& rows : tensor.rows) {
      const uint64_t first = static_cast<uint64_t>(rows.first * in) * element_bytes(type);
      plan.blocks.push_back({rows.tensor, 0, rows.column, in, rows.count, plan.image_bytes + first,
                             1, rows.step, in, type});
    }
    plan.image_bytes += (where.bytes + kImageAlignment - 1) / kImageAlignment * kImageAlignment;
  }
  return plan;
}

}  // namespace kvcalib
