// SPDX-License-Identifier: Apache-2.0
#include "sharding/rank.h"

#include <c10/util/Exception.h>

#include <cstdlib>
#include <optional>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "sharding/formats/error.h"

namespace kvcalib {
namespace {

constexpr std::chrono::minutes kJoinTimeout{5};
constexpr std::chrono::hours kValueTimeout{
    24};  // rank 0 may tokenise for long; the launcher ends lost runs

constexpr size_t kPieceBytes = size_t{4} << 20;  // the store refuses values over 8 MiB

std::optional<int64_t> number_from(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr || *text == '\0') return std::nullopt;
  char* end = nullptr;
  const long value = std::strtol(text, &end, 10);
  if (*end != '\0' || value < 0)
    throw UsageError(concat("environment ", variable, "=", text, ": expected a number"));
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
  std::optional<int64_t> index = number_from("RANK");
  std::optional<int64_t> local = number_from("LOCAL_RANK");
  std::optional<int64_t> world = number_from("WORLD_SIZE");
  if (!index && std::getenv("MASTER_ADDR") != nullptr) {
    index = number_from("SLURM_PROCID");
    local = number_from("SLURM_LOCALID");
    world = number_from("SLURM_NTASKS");
  }
  if (!index) return {};
  if (!world) throw UsageError("environment: RANK is set but WORLD_SIZE is not; set both or none");
  if (*index >= *world || *world < 1)
    throw UsageError(concat("environment: RANK=", *index, " is not below WORLD_SIZE=", *world));
  return {*index, local.value_or(*index), *world, true};
}

Rendezvous::Rendezvous(const Rank& rank) {
  if (rank.world == 1) {
    store_ = c10::make_intrusive<c10d::HashStore>();
    return;
  }
  const std::string address = text_from("MASTER_ADDR");
  const std::string port_text = text_from("MASTER_PORT");
  const int64_t port_number = number_from("MASTER_PORT").value();
  if (port_number < 1 || port_number > 65535)
    throw UsageError(concat("environment MASTER_PORT=", port_text, ": expected 1 to 65535"));
  const auto port = static_cast<uint16_t>(port_number);
  const char* agent = std::getenv("TORCHELASTIC_USE_AGENT_STORE");  // torchrun's own server
  c10d::TCPStoreOptions options;
  options.port = port;
  options.isServer = rank.index == 0 && !(agent != nullptr && std::string_view(agent) == "True");
  options.waitWorkers = false;
  options.timeout = kJoinTimeout;
  try {
    store_ = c10::make_intrusive<c10d::TCPStore>(address, options);
  } catch (const c10::Error& failure) {
    throw Error(concat("rank ", rank.index, ": cannot meet the other ranks at ", address, ":", port,
                       ": ", failure.what_without_backtrace()));
  }
  store_->setTimeout(kValueTimeout);
}

Rendezvous::~Rendezvous() = default;

void Rendezvous::set(std::string_view name, std::string_view value) {
  try {
    const size_t pieces = (value.size() + kPieceBytes - 1) / kPieceBytes;
    for (size_t i = 0; i < pieces; ++i) {
      const std::string_view piece = value.substr(i * kPieceBytes, kPieceBytes);
      store_->set(concat("kvcalib/", name, "/", i),
                  std::vector<uint8_t>(piece.begin(), piece.end()));
    }
    const std::string count = std::to_string(pieces);
    store_->set(concat("kvcalib/", name), std::vector<uint8_t>(count.begin(), count.end()));
  } catch (const std::exception& failure) {
    throw PeerLost(concat("telling the others '", name, "': ", failure.what()));
  }
}

std::string Rendezvous::get(std::string_view name) {
  try {
    const std::vector<uint8_t> count = store_->get(concat("kvcalib/", name));
    const size_t pieces = std::stoul(std::string(count.begin(), count.end()));
    std::string value;
    for (size_t i = 0; i < pieces; ++i) {
      const std::vector<uint8_t> piece = store_->get(concat("kvcalib/", name, "/", i));
      value.append(piece.begin(), piece.end());
    }
    return value;
  } catch (const std::exception& failure) {
    throw PeerLost(concat("waiting for '", name, "': ", failure.what()));
  }
}

}  // namespace kvcalib
