// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/error.h"
#include "sharding/formats/turbomind_directory.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/sane_model.h"

namespace kvcalib {

// config.ini, and the model that it describes.
void fuzz(std::string_view bytes) {
  const IniFile file = IniFile::parse(std::string(bytes), "config.ini");
  try {
    const IniFile changed = file.with("quant_policy", "4");
    require(changed.integer("quant_policy") == 4);
    require(changed.with("quant_policy", "4").text() == changed.text());
    require(changed.find("head_num") == file.find("head_num"));
  } catch (const Error&) {
    require(false);  // what was read can be changed
  }
  require_sane(read_model_config(file));
}

}  // namespace kvcalib
