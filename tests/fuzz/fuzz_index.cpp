// SPDX-License-Identifier: Apache-2.0
#include "sharding/formats/safetensors_index.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/safetensors_bytes.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib {
namespace {

std::string file_of(const std::vector<std::string>& names) {
  Safetensors file;
  for (const std::string& name : names) file.tensors[name] = {"F16", {2}, "abcd"};
  return safetensors_bytes(file);
}

// A model of two files.
class Model {
 public:
  Model() {
    fixture::write_file(path() / "model-00001-of-00002.safetensors", file_of({"a", "b"}));
    fixture::write_file(path() / "model-00002-of-00002.safetensors", file_of({"c"}));
  }
  const std::filesystem::path& path() const { return folder_.path(); }

 private:
  fixture::TemporaryFolder folder_;
};

}  // namespace

// The index of a model.
void fuzz(std::string_view bytes) {
  static const Model kModel;
  fixture::write_file(kModel.path() / "model.safetensors.index.json", std::string(bytes));
  const SafetensorsIndex index = read_safetensors_index(kModel.path());
  for (const auto& [name, place] : index.tensors)
    require(place.bytes == 4 && place.file.parent_path() == kModel.path());
}

}  // namespace kvcalib
