// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "calibrate/runtimes/turbomind/releases.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// What config.ini says beside the model's shape.
struct DeployChoices {
  std::string model_name;  // of the chat template
  int64_t ranks = 1;
  int64_t vocab = 0;
  int64_t start_id = 1, end_id = 2;
};

// The model as that release's converter would describe it in config.ini: its own rotary scaling in
// the runtime's keys (lmdeploy/turbomind/deploy, source_model/llama.py and qwen.py v0.3.0;
// deploy.py v0.0.12).
ModelConfig as_converted(const ModelConfig& model, const TurboMindRelease& release);

// The 16-bit type that the converter writes.
WeightType deployed_type(const ModelConfig& model, const TurboMindRelease& release);

// How many rows of embedding and head a release has on disk for a model of `rows` rows.
int64_t deployed_rows(int64_t rows, const TurboMindRelease& release, int64_t ranks);

// The text of config.ini, key by key as that release's converter writes it.
std::string deployed_config(const ModelConfig& model, const TurboMindRelease& release,
                            const DeployChoices& choices);

// A number as Python prints a float: 10000.0, 1e-05.
std::string python_float(double value);

}  // namespace kvcalib
