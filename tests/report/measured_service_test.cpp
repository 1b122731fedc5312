// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/measured_service.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace kvcalib {
namespace {

ServingMemory memory(uint64_t weights, uint64_t context) {
  ServingMemory memory;
  memory.weights = weights;
  memory.context = context;
  return memory;
}

Measurement held(const ServingMemory& taken) {
  Measurement measured;
  measured.held = true;
  measured.taken = taken;
  return measured;
}

// A row within 3 %, one beyond, one without room.
MeasuredService service() {
  MeasuredService service;
  service.plan.runtime = "v0.3.0";
  service.plan.load.ranks = 8;
  service.gpu = "Fake GPU";
  service.card = {700'000'000, 80'000'000'000};
  service.context_bytes = 600'000'000;
  const ServingMemory planned = memory(20'000'000'000, 1'000'000'000);
  for (const int64_t sessions : {16, 32, 48})
    service.plan.rows.push_back({sessions, CacheType::kInt8, planned});
  Measurement without_room;
  without_room.needed_bytes = 97'000'000'000;
  without_room.free_bytes = 79'300'000'000;
  service.measured = {held(memory(20'200'000'000, 600'000'000)),
                      held(memory(22'000'000'000, 600'000'000)), without_room};
  return service;
}

TEST(MeasuredService, PutsWhatWasMeasuredUnderWhatWasPlanned) {
  const std::string text = format_measured(service());
  EXPECT_NE(text.find("20.00"), std::string::npos) << text;
  EXPECT_NE(text.find("20.20"), std::string::npos) << text;
  EXPECT_NE(text.find("-1.0         yes\n"), std::string::npos) << text;
  EXPECT_NE(text.find("+7.6          no\n"), std::string::npos) << text;
  EXPECT_NE(text.find("Fake GPU, 80.00 GB, 0.10 GB held by other programs"), std::string::npos);
  EXPECT_NE(
      text.find("48 sessions, int8: needs 97.00 GB beside the context, the card has 80.00 GB"),
      std::string::npos)
      << text;
  EXPECT_NE(text.find("NCCL, planned in context, was not"), std::string::npos) << text;
}

TEST(MeasuredService, SaysWhatIsNotKnownAndWhatWasDisturbed) {
  MeasuredService disturbed = service();
  disturbed.context_bytes.reset();
  disturbed.measured[0].others_bytes = -500'000'000;
  const std::string text = format_measured(disturbed);
  EXPECT_NE(text.find("what other programs hold is not known"), std::string::npos) << text;
  EXPECT_NE(text.find("16 sessions, int8: other programs gave back 0.50 GB meanwhile"),
            std::string::npos)
      << text;
  const auto json = nlohmann::json::parse(measured_json(disturbed));
  EXPECT_TRUE(json["context_bytes"].is_null() && json["others_bytes"].is_null());
  EXPECT_TRUE(json["rows"][0]["disturbed"].get<bool>());
  EXPECT_FALSE(json["rows"][0]["within"].get<bool>());
}

TEST(MeasuredService, HasAllFiguresInItsJson) {
  const auto json = nlohmann::json::parse(measured_json(service()));
  EXPECT_EQ(json["others_bytes"], 100'000'000);
  const auto& row = json["rows"][0];
  EXPECT_EQ(row["planned"]["total_bytes"], 21'000'000'000);
  EXPECT_EQ(row["measured"]["weights_bytes"], 20'200'000'000);
  EXPECT_TRUE(row["within"].get<bool>());
  EXPECT_FALSE(json["rows"][1]["within"].get<bool>());
  EXPECT_FALSE(json["rows"][2]["held"].get<bool>());
  EXPECT_FALSE(json["rows"][2].contains("measured"));
}

TEST(MeasuredService, WithoutRoomForAnyHasNoTable) {
  MeasuredService none = service();
  for (Measurement& one : none.measured) one.held = false;
  EXPECT_FALSE(none.any_held());
  EXPECT_EQ(format_measured(none).find("as planned and by"), std::string::npos);
}

}  // namespace
}  // namespace kvcalib
