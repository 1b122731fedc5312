// SPDX-License-Identifier: Apache-2.0
#include "calibrate/engine/run_layers.h"

#include <gtest/gtest.h>

#include <string>

namespace kvcalib {
namespace {

// Notes what it is asked for, its layers being empty.
class NotingSource final : public LayerSource {
 public:
  explicit NotingSource(std::string& notes, c10::Device device = c10::kCPU)
      : notes_(notes), device_(device) {}
  const LayerWeights& next() override {
    notes_ += "next ";
    return weights_;
  }
  void check() const override {}
  c10::Device device() const override { return device_; }

 private:
  std::string& notes_;
  const c10::Device device_;
  const LayerWeights weights_;
};

// Notes where it is taken.
class NotingVisitor final : public LayerVisitor {
 public:
  explicit NotingVisitor(std::string& notes) : notes_(notes) {}
  void visit(int64_t layer, const LayerWeights& /*weights*/,
             const LayerSource& /*source*/) override {
    notes_ += "visit " + std::to_string(layer) + " ";
  }
  void finish(int64_t layer) override { notes_ += "finish " + std::to_string(layer) + " "; }

 private:
  std::string& notes_;
};

TEST(RunLayers, TakesEachLayerOnceAndFinishesIt) {
  std::string notes;
  NotingSource source(notes);
  NotingVisitor visitor(notes);
  run_layers(source, {0, 2}, visitor);
  EXPECT_EQ(notes, "next visit 0 finish 0 next visit 1 finish 1 ");
}

TEST(RunLayers, FinishesALayerWhenAGpuHasTheNextBeforeIt) {
  std::string notes;
  NotingSource source(notes, c10::Device(c10::kCUDA, 0));
  NotingVisitor visitor(notes);
  run_layers(source, {0, 2}, visitor);
  EXPECT_EQ(notes, "next visit 0 next visit 1 finish 0 finish 1 ");
}

TEST(RunLayers, BeginsAtTheLayerThatTheSourceHandsOutNext) {
  std::string notes;
  NotingSource source(notes);
  NotingVisitor visitor(notes);
  run_layers(source, {3, 4}, visitor);
  run_layers(source, {4, 4}, visitor);
  EXPECT_EQ(notes, "next visit 3 finish 3 ");
}

}  // namespace
}  // namespace kvcalib
