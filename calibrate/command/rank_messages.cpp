// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/rank_messages.h"

#include <ATen/core/Tensor.h>

#include <array>
#include <cstring>

#include "sharding/files/error.h"

namespace kvcalib {
namespace {

std::string trace_name(int64_t rank) { return concat("trace-", rank); }

std::string continuations_name(size_t place, int64_t rank) {
  return concat("continuations-", place, "-of-rank-", rank);
}

std::string scores_name(size_t group, int64_t rank) {
  return concat("scores-", group, "-of-rank-", rank);
}

template <typename T>
std::string_view as_bytes(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

}  // namespace

void send_shape(Rendezvous& rendezvous, const WindowShape& shape) {
  const std::array<int64_t, 2> values = {shape.samples, shape.length};
  rendezvous.set("shape", as_bytes(std::span<const int64_t>(values)));
}

WindowShape receive_shape(Rendezvous& rendezvous) {
  const std::string message = rendezvous.get("shape");
  std::array<int64_t, 2> values{};
  TORCH_CHECK(message.size() == sizeof(values), "the shape of the windows is damaged");
  std::memcpy(values.data(), message.data(), sizeof(values));
  return {values[0], values[1]};
}

void send_ids(Rendezvous& rendezvous, std::span<const int32_t> ids) {
  rendezvous.set("ids", as_bytes(ids));
}

std::vector<int32_t> receive_ids(Rendezvous& rendezvous) {
  const std::string message = rendezvous.get("ids");
  std::vector<int32_t> ids(message.size() / sizeof(int32_t));
  std::memcpy(ids.data(), message.data(), ids.size() * sizeof(int32_t));
  return ids;
}

void send_trace(Rendezvous& rendezvous, int64_t rank, const std::string& events) {
  rendezvous.set(trace_name(rank), events);
}

std::string receive_trace(Rendezvous& rendezvous, int64_t rank) {
  return rendezvous.get(trace_name(rank));
}

std::vector<std::string> gather_traces(Rendezvous& rendezvous, int64_t ranks, Trace& own) {
  std::vector<std::string> events = {own.events(0)};
  for (int64_t other = 1; other < ranks; ++other)
    events.push_back(receive_trace(rendezvous, other));
  return events;
}

void send_request(Rendezvous& rendezvous, const ScoreRequest& request) {
  rendezvous.set("request", to_bytes(request));
}

ScoreRequest receive_request(Rendezvous& rendezvous) {
  return score_request_of(rendezvous.get("request"));
}

void send_generation(Rendezvous& rendezvous, const GenerationRequest& request) {
  rendezvous.set("generation", to_bytes(request));
}

GenerationRequest receive_generation(Rendezvous& rendezvous) {
  return generation_request_of(rendezvous.get("generation"));
}

void send_continuations(Rendezvous& rendezvous, size_t place, int64_t rank,
                        const TaskContinuations& continuations) {
  rendezvous.set(continuations_name(place, rank), to_bytes(continuations));
}

TaskContinuations receive_continuations(Rendezvous& rendezvous, size_t place, int64_t rank) {
  const std::string name = continuations_name(place, rank);
  return continuations_of(rendezvous.get(name), name);
}

void send_scores(Rendezvous& rendezvous, size_t group, int64_t rank, std::string_view scores) {
  rendezvous.set(scores_name(group, rank), scores);
}

GroupScores receive_scores(Rendezvous& rendezvous, size_t group, int64_t rank) {
  const std::string name = scores_name(group, rank);
  return group_scores_of(rendezvous.get(name), name);
}

}  // namespace kvcalib
