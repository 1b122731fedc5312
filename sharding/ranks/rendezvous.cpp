// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/rendezvous.h"

#include <chrono>
#include <thread>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "sharding/files/error.h"
#include "sharding/ranks/left_behind.h"
#include "sharding/ranks/store_connection.h"

namespace kvcalib {
namespace {

constexpr std::chrono::milliseconds kLook{5};
constexpr std::chrono::milliseconds kLastWords{750};  // for the others to read why this rank ends

constexpr std::chrono::seconds kMostOfTelling{2};

constexpr size_t kPieceBytes = size_t{4} << 20;  // the store refuses values over 8 MiB

}  // namespace

Rendezvous::Rendezvous(const Rank& rank) {
  if (rank.world == 1) {
    store_ = c10::make_intrusive<c10d::HashStore>();
    peers_ = std::make_unique<PeerWatch>(store_, rank.index, rank.world, true);
    return;
  }
  const MeetingPlace place = meeting_place(rank);
  started_here_ = !place.file.empty();
  served_here_ = place.served_here;
  const std::string waiting = started_here_ ? "" : waiting_line(rank, place);
  const auto deadline = std::chrono::steady_clock::now() + Heartbeats::kJoining;
  store_ = connect_store(place, place.served_here, deadline, waiting);
  peers_ = std::make_unique<PeerWatch>(connect_store(place, false, deadline), rank.index,
                                       rank.world, started_here_, rank.index == 0 ? waiting : "");
}

Rendezvous::~Rendezvous() {
  const bool failed = peers_->lost() || std::uncaught_exceptions() > 0;
  peers_.reset();
  if (served_here_ && failed) std::this_thread::sleep_for(kLastWords);
}

void Rendezvous::tell_delivered() noexcept { tell_launcher(kvcalib::tell_delivered); }

void Rendezvous::tell_done() noexcept { tell_launcher(kvcalib::tell_done); }

// Another rank, stopped or hanging, may hold the lock of the file.
void Rendezvous::tell_launcher(void (*tell)(c10d::Store&)) noexcept {
  if (!started_here_) return;
  try {
    const auto deadline = std::chrono::steady_clock::now() + kMostOfTelling;
    std::future<void> told = start_apart<void>([store = store_, tell] { tell(*store); });
    if (has_ended_by(deadline, told)) told.get();
  } catch (const std::exception&) {
    // It is not told, then.
  }
}

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
    peers_->check();
    throw PeerLost(concat("telling the others '", name, "': ", failure.what()));
  }
}

// The store's own wait would sit through the loss of a rank, or write of every timeout to stderr.
void Rendezvous::wait_for(const std::string& key) {
  while (!store_->check({key})) {
    peers_->check();
    std::this_thread::sleep_for(kLook);
  }
}

std::string Rendezvous::get(std::string_view name) {
  try {
    wait_for(concat("kvcalib/", name));
    const std::vector<uint8_t> count = store_->get(concat("kvcalib/", name));
    const size_t pieces = std::stoul(std::string(count.begin(), count.end()));
    std::string value;
    for (size_t i = 0; i < pieces; ++i) {
      const std::vector<uint8_t> piece = store_->get(concat("kvcalib/", name, "/", i));
      value.append(piece.begin(), piece.end());
    }
    return value;
  } catch (const PeerLost&) {
    throw;
  } catch (const std::exception& failure) {
    peers_->check();
    throw PeerLost(concat("waiting for '", name, "': ", failure.what()));
  }
}

}  // namespace kvcalib
