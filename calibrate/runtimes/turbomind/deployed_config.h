// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "calibrate/runtimes/turbomind/release.h"
#include "sharding/formats/model_config.h"

namespace kvcalib {

// What config.ini says beside the model's shape.
struct DeployChoices {
  std::string model_name;  // of the chat template
  int64_t ranks = 1;
  int64_t vocab = 0;
  int64_t start_id = 1, end_id = 2;
};

// The 16-bit type that a release's converter writes: no release before v0.1.0 knows bfloat16.
WeightType deployed_type(const ModelConfig& model, const RuntimeRelease& release);

// How many rows of embedding and head it writes for a model of `rows` rows.
int64_t deployed_rows(int64_t rows, const RuntimeRelease& release, int64_t ranks);

// Why a release could not serve weights cut for `ranks` as the model means them, a sentence each
// with the way out.
std::vector<std::string> deploy_faults(const ModelConfig& model, const RuntimeRelease& release,
                                       int64_t ranks);

// The text of config.ini, key by key as that release's converter writes it.
std::string deployed_config(const ModelConfig& model, const RuntimeRelease& release,
                            const DeployChoices& choices);

// A number as Python prints a float: 10000.0, 1e-05.
std::string python_float(double value);

}  // namespace kvcalib
