// SPDX-License-Identifier: Apache-2.0
#include "calibrate/delivery/delivery.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

#include "tests/delivery/delivery_fixture.h"
#include "tests/message_of.h"

namespace kvcalib {
namespace {

using namespace fixture;

// Keeps what is written, and whether it was committed behind that.
class Recorder final : public OutputTransaction {
 public:
  using OutputTransaction::write;
  void write(std::string_view name, const FileContent& content) override {
    if (committed) throw std::logic_error("written behind the commit");
    TextSink sink;
    content(sink);
    files.emplace_back(name, sink.text);
  }
  void commit() override { committed = true; }

  std::vector<std::pair<std::string, std::string>> files;
  bool committed = false;

 protected:
  std::string standing() const override { return "recorded"; }
};

std::vector<std::string> names_of(const Delivery& delivery) {
  std::vector<std::string> names;
  for (const DeliveredFile& file : delivery.files) names.push_back(file.name);
  return names;
}

TEST(Delivery, HoldsTheRuntimesFilesAndTheStatistics) {
  const ModelConfig model = small_model();
  const Delivery delivery = delivery_of(turbomind_weights(model));
  const std::vector<std::string> names = names_of(delivery);
  ASSERT_EQ(names.size(), static_cast<size_t>(model.layers * 2 + 3));
  for (const char* name : {"layers.0.past_kv_scale.0.weight", "layers.2.past_kv_scale.1.weight",
                           "config.ini", "config.patch", kStatisticsFileName})
    EXPECT_EQ(std::count(names.begin(), names.end(), name), 1) << name;
  EXPECT_EQ(delivery.beside_scales, "config.ini");
  EXPECT_EQ(delivery.place, "/results");
  EXPECT_EQ(delivery.scales.size(), static_cast<size_t>(model.layers * 2));
}

TEST(Delivery, OfAModelsOwnWeightsHasNoConfigToPatch) {
  const Delivery delivery = delivery_of(ModelDirectory("/model", small_model()));
  EXPECT_EQ(delivery.beside_scales, "");
  for (const std::string& name : names_of(delivery)) EXPECT_NE(name, "config.ini");
}

TEST(Delivery, IsStagedWhole) {
  const Delivery delivery = delivery_of(turbomind_weights(small_model()));
  Recorder output;
  stage_delivery(output, delivery);
  output.commit();
  ASSERT_EQ(output.files.size(), delivery.files.size());
  for (size_t i = 0; i < output.files.size(); ++i) {
    EXPECT_EQ(output.files[i].first, delivery.files[i].name);
    EXPECT_EQ(output.files[i].second, bytes_of(delivery.files[i]));
  }
}

TEST(Delivery, IsNotStagedWhereAFileFails) {
  Delivery delivery = delivery_of(turbomind_weights(small_model()));
  delivery.files.push_back({"last", [](ByteSink&) { throw Error("no more"); }});
  Recorder output;
  EXPECT_EQ(message_of([&] { stage_delivery(output, delivery); }), "no more");
}

TEST(Delivery, HoldsStatisticsFromWhichItsScalesCanBeMadeAgain) {
  const Delivery delivery = delivery_of(turbomind_weights(small_model()));
  const StatisticsFile read = parse_statistics(bytes_of(delivery.files.back()), "statistics");
  EXPECT_EQ(compute_scales(read.statistics, 2, delivery.target.method), delivery.scales);
}

}  // namespace
}  // namespace kvcalib
