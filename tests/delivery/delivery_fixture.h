// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "calibrate/delivery/delivery.h"
#include "tests/runtimes/model_directory.h"
#include "tests/statistics/statistics_bytes.h"
#include "tests/turbomind_fixture.h"

namespace kvcalib::fixture {

// Every channel of K and of V in [-1, 2], but the last, which is wider.
inline StatisticsFile statistics_of(const ModelConfig& model) {
  StatisticsFile file{KvStatistics(model.layers, model.kv_heads, model.head_dim), {}};
  for (const KvTensor& tensor : kKvTensors) {
    auto& [minimum, maximum] = file.statistics.*tensor.statistics;
    minimum.assign(minimum.size(), -1.0f);
    maximum.assign(maximum.size(), 2.0f);
    minimum.back() = -100.0f;
  }
  file.provenance = provenance_of(model);
  file.provenance.samples = 4;
  file.provenance.length = 64;
  return file;
}

inline ModelDirectory turbomind_weights(const ModelConfig& model) {
  return {"/weights", model, IniFile::parse(config_text(model), "config.ini")};
}

// A delivery of the model's statistics to /results, for 2 ranks.
inline Delivery delivery_of(const WeightDirectory& weights, const ScaleOptions& options = {},
                            const std::optional<RunCost>& cost = std::nullopt) {
  ScaleOptions for_two = options;
  for_two.serving_ranks = 2;
  return make_delivery(weights, resolve_target(weights.config(), for_two, 0, 64),
                       std::make_shared<const StatisticsFile>(statistics_of(weights.config())),
                       "/results", cost);
}

inline std::string bytes_of(const DeliveredFile& file) {
  TextSink sink;
  file.content(sink);
  return sink.text;
}

}  // namespace kvcalib::fixture
