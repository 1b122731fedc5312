// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/hugging_face_directory.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "sharding/files/error.h"
#include "sharding/formats/hugging_face_config.h"

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
  throw Error(concat(directory.string(), ": holds no model*.safetensors beside config.json; the ",
                     "copy is not complete"));
}

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t extent : shape) text += concat(text.empty() ? "" : ", ", extent);
  return "[" + text + "]";
}

ElementType element_type(const std::string& name, const TensorPlace& place) {
  if (place.dtype == "F16") return ElementType::kFloat16;
  if (place.dtype == "BF16") return ElementType::kBFloat16;
  if (place.dtype == "F32") return ElementType::kFloat32;
  throw Error(concat(place.file.string(), ": tensor '", name, "' has dtype ", place.dtype,
                     ", expected F16, BF16 or F32: quantised weights cannot be calibrated"));
}

bool is_known_buffer(std::string_view name) { return name.ends_with(".rotary_emb.inv_freq"); }

void refuse_quantised_names(const SafetensorsIndex& index) {
  for (const auto& [name, place] : index) {
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
      tied_(config.flag("tie_word_embeddings", false)) {
  config_ = read_hugging_face_config(config, family_);
  if (index_.empty()) refuse_without_safetensors(path);
  refuse_quantised_names(index_);
  if (!stated_weight_type(config) && embedding().type == ElementType::kBFloat16)
    config_.weight_type = WeightType::kBFloat16;
  check_tensors();
}

std::unique_ptr<WeightDirectory> HuggingFaceDirectory::open(const fs::path& directory) {
  return std::unique_ptr<WeightDirectory>(
      new HuggingFaceDirectory(directory, JsonObject::read(directory / "config.json")));
}

void HuggingFaceDirectory::check_tensors() {
  embedding();
  final_norm();
  head();
  std::set<std::string_view> used;
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    for (const StoredTensor& tensor : stored_tensors(config_, family_, layer)) {
      place(tensor.name, tensor.shape);
      used.insert(index_.find(tensor.name)->first);
    }
  }
  const std::string layers = concat(family_.layers, ".");
  for (const auto& [name, where] : index_) {
    if (name.starts_with(layers) && !used.contains(name) && !is_known_buffer(name))
      throw Error(concat(where.file.string(), ": tensor '", name, "' is not one of a ",
                         family_.architectures.front(), " with ", config_.layers, " layers",
                         config_.attention_bias ? "" : " and no biases",
                         "; config.json is another model's"));
  }
}

const TensorPlace& HuggingFaceDirectory::place(const std::string& name,
                                               const std::vector<int64_t>& shape) const {
  const auto found = index_.find(name);
  if (found == index_.end())
    throw Error(concat(path_.string(), ": no safetensors file holds tensor '", name,
                       "', expected with shape ", shape_text(shape),
                       "; the copy is not complete, or config.json is another model's"));
  const TensorPlace& place = found->second;
  element_type(name, place);
  if (place.shape != shape)
    throw Error(concat(place.file.string(), ": tensor '", name, "' has shape ",
                       shape_text(place.shape), ", expected ", shape_text(shape),
                       "; config.json is another model's"));
  return place;
}

EmbeddingTable HuggingFaceDirectory::table(std::string_view module,
                                           const std::vector<int64_t>& shape) const {
  const std::string name = concat(module, ".weight");
  const TensorPlace& where = place(name, shape);
  return {where.file, where.offset, shape.size() > 1 ? shape[0] : 1, element_type(name, where)};
}

EmbeddingTable HuggingFaceDirectory::embedding() const {
  return table(family_.embedding, {config_.vocab, config_.hidden});
}

EmbeddingTable HuggingFaceDirectory::head() const {
  EmbeddingTable head = tied_ ? embedding() : table(family_.head, {config_.vocab, config_.hidden});
  head.normalise_rows = config_.vocab == family_.normalised_head_vocab;
  return head;
}

EmbeddingTable HuggingFaceDirectory::final_norm() const {
  return table(family_.final_norm, {config_.hidden});
}

LayerPlan HuggingFaceDirectory::layer_plan(int64_t layer) const {
  std::vector<StoredTensor> tensors = stored_tensors(config_, family_, layer);
  std::sort(tensors.begin(), tensors.end(), [&](const auto& left, const auto& right) {
    return lies_before(index_.at(left.name), index_.at(right.name));
  });
  LayerPlan plan;
  for (const StoredTensor& tensor : tensors) {
    const TensorPlace& where = index_.at(tensor.name);
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
