// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/rank.h"

#include <cstdlib>
#include <optional>
#include <string_view>

#include "sharding/files/error.h"
#include "sharding/ranks/local_store.h"

namespace kvcalib {
namespace {

std::optional<int64_t> number_from(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr || *text == '\0') return std::nullopt;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*end != '\0' || value < 0 || value > kMostRanks)
    throw UsageError(
        concat("environment ", variable, "=", text, ": expected a number of at most ", kMostRanks));
  return value;
}

std::string text_from(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr || *text == '\0')
    throw UsageError(concat("environment: RANK is set but ", variable,
                            " is not; set RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and ",
                            "MASTER_PORT together, as torchrun does, or none of them"));
  return text;
}

}  // namespace

Rank rank_from_environment() {
  std::string names[] = {"RANK", "WORLD_SIZE"};
  std::optional<int64_t> index = number_from("RANK");
  std::optional<int64_t> local = number_from("LOCAL_RANK");
  std::optional<int64_t> world = number_from("WORLD_SIZE");
  if (!index && std::getenv("MASTER_ADDR") != nullptr) {
    names[0] = "SLURM_PROCID", names[1] = "SLURM_NTASKS";
    index = number_from("SLURM_PROCID");
    local = number_from("SLURM_LOCALID");
    world = number_from("SLURM_NTASKS");
  }
  if (!index) return {};
  if (!world) throw UsageError("environment: RANK is set but WORLD_SIZE is not; set both or none");
  if (*index >= *world || *world < 1)
    throw UsageError(concat("environment: RANK=", *index, " is not below WORLD_SIZE=", *world));
  return {*index, local.value_or(*index), *world, true,
          concat(names[0], "=", *index, ", ", names[1], "=", *world)};
}

std::string waiting_line(const Rank& rank, const MeetingPlace& place) {
  const std::string others = rank.world == 2 ? concat("rank ", 1 - rank.index)
                                             : concat("the other ", rank.world - 1, " ranks");
  return concat("kvcalib: ", rank.source, " in the environment: rank ", rank.index, " of ",
                rank.world, ", waiting for ", others, " at MASTER_ADDR:MASTER_PORT ", place.address,
                ":", place.port, "; unset the variables for a run of its own");
}

MeetingPlace meeting_place(const Rank& rank) {
  MeetingPlace place;
  if (const char* file = std::getenv(LocalStore::kVariable)) {
    place.file = file;
    return place;
  }
  place.address = text_from("MASTER_ADDR");
  const std::string port = text_from("MASTER_PORT");
  const int64_t number = number_from("MASTER_PORT").value();
  if (number < 1 || number > 65535)
    throw UsageError(concat("environment MASTER_PORT=", port, ": expected 1 to 65535"));
  place.port = static_cast<uint16_t>(number);
  const char* agent = std::getenv("TORCHELASTIC_USE_AGENT_STORE");  // torchrun's own server
  place.served_here = rank.index == 0 && !(agent != nullptr && std::string_view(agent) == "True");
  return place;
}

}  // namespace kvcalib
