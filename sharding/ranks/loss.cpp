// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/loss.h"

#include <array>
#include <cstring>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

const std::string kKey = "kvcalib/loss";
const std::string kDelivered = "kvcalib/delivered";
const std::string kDone = "kvcalib/done";

// At the store: kind and rank.
using Record = std::array<int64_t, 2>;

std::vector<uint8_t> record_of(const Loss& loss) {
  const Record record = {static_cast<int64_t>(loss.kind), loss.rank};
  std::vector<uint8_t> bytes(sizeof(record));
  std::memcpy(bytes.data(), record.data(), sizeof(record));
  return bytes;
}

Loss loss_of(const std::vector<uint8_t>& bytes) {
  Record record{};
  if (bytes.size() != sizeof(record)) throw Error("what the ranks were told of a loss is damaged");
  std::memcpy(record.data(), bytes.data(), sizeof(record));
  return {static_cast<Loss::Kind>(record[0]), record[1]};
}

}  // namespace

std::string Loss::text() const {
  switch (kind) {
    case Kind::kFailed:
      return concat("rank ", rank, " has failed; its own message says why");
    case Kind::kNotJoined:
      return concat("rank ", rank, " has not joined within five minutes");
    case Kind::kSilent:
      return concat("rank ", rank,
                    " has not been heard of for five seconds; it was killed or stopped, ",
                    "or its machine is gone");
    case Kind::kNowhere:
      return "the place where the ranks meet is gone or does not answer: rank 0, or who started "
             "it, "
             "has ended or was stopped";
    case Kind::kNotStarted:
      return concat("rank ", rank, " has not come up within a minute of its start");
    case Kind::kNotEnded:
      return concat("rank ", rank, " has not ended within ", kGraceAfterAll.count(),
                    " seconds after all was done");
  }
  throw std::logic_error("Loss: no such kind");
}

std::optional<Loss> loss_at(c10d::Store& store) {
  if (!store.check({kKey})) return std::nullopt;
  return loss_of(store.get(kKey));
}

std::optional<Loss> loss_at(const LocalStore& store) {
  const std::optional<std::string> told = store.value_of(kKey);
  if (!told) return std::nullopt;
  return loss_of(std::vector<uint8_t>(told->begin(), told->end()));
}

Loss tell_loss(c10d::Store& store, const Loss& loss) {
  const std::vector<uint8_t> first = store.compareSet(kKey, {}, record_of(loss));
  return first.empty() ? loss : loss_of(first);
}

void tell_delivered(c10d::Store& store) { store.set(kDelivered, std::vector<uint8_t>{1}); }

bool delivered_at(const LocalStore& store) { return store.value_of(kDelivered).has_value(); }

void tell_done(c10d::Store& store) { store.set(kDone, std::vector<uint8_t>{1}); }

bool done_at(const LocalStore& store) { return store.value_of(kDone).has_value(); }

}  // namespace kvcalib
