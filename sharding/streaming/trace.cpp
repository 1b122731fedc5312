// SPDX-License-Identifier: Apache-2.0
#include "sharding/streaming/trace.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

namespace kvcalib {
namespace {

using Clock = std::chrono::steady_clock;

// When the process began, by field 22 of /proc/self/stat (proc_pid_stat(5)), to a clock tick of
// 10 ms.
Clock::time_point process_start() {
  std::ifstream file("/proc/self/stat");
  std::string text;
  std::getline(file, text);
  std::istringstream fields(text.substr(std::min(text.size(), text.rfind(')') + 2)));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  const double started =
      std::strtod(field.c_str(), nullptr) / static_cast<double>(sysconf(_SC_CLK_TCK));
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  const std::chrono::duration<double> age(static_cast<double>(now.tv_sec) +
                                          static_cast<double>(now.tv_nsec) / 1e9 - started);
  return Clock::now() - std::chrono::duration_cast<Clock::duration>(age);
}

double microseconds(Clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

// Tracks as Chrome's threads, in the order in which they first appear.
class Tracks {
 public:
  size_t number(const std::string& track) {
    const auto found = std::find(names_.begin(), names_.end(), track);
    if (found != names_.end()) return static_cast<size_t>(found - names_.begin());
    names_.push_back(track);
    return names_.size() - 1;
  }
  const std::vector<std::string>& names() const { return names_; }

 private:
  std::vector<std::string> names_;
};

nlohmann::json metadata(const char* what, int64_t rank, size_t track, const std::string& name) {
  return {{"ph", "M"}, {"name", what}, {"pid", rank}, {"tid", track}, {"args", {{"name", name}}}};
}

}  // namespace

void Trace::align_clocks() {
  std::call_once(aligned_, [this] {
    base_.record(device_);
    base_.synchronize();
    base_time_ = Clock::now();
  });
}

void Trace::add(const HostRecord& record) {
  const std::lock_guard lock(mutex_);
  host_.push_back(record);
}

void Trace::add(DeviceRecord record) {
  const std::lock_guard lock(mutex_);
  device_records_.push_back(std::move(record));
}

std::string Trace::events(int64_t rank) {
  const std::lock_guard lock(mutex_);
  if (!device_records_.empty()) synchronize_gpu(device_);
  Tracks tracks;
  nlohmann::json events = nlohmann::json::array();
  const auto add_span = [&](const Label& label, double begin, double length) {
    nlohmann::json event = {{"ph", "X"},     {"name", label.name},
                            {"pid", rank},   {"ts", begin},
                            {"dur", length}, {"tid", tracks.number(label.track)}};
    if (label.layer >= 0) event["args"] = {{"layer", label.layer}};
    events.push_back(std::move(event));
  };
  for (const HostRecord& record : host_)
    add_span(record.label, microseconds(record.begin.time_since_epoch()),
             microseconds(record.end - record.begin));
  const double base = microseconds(base_time_.time_since_epoch());
  for (const DeviceRecord& record : device_records_)
    add_span(record.label, base + 1e6 * base_.seconds_to(record.begin),
             1e6 * record.begin.seconds_to(record.end));
  if (memory_)
    events.push_back({{"name", "memory"},
                      {"ph", "i"},
                      {"s", "p"},
                      {"pid", rank},
                      {"tid", 0},
                      {"ts", microseconds(memory_->time.time_since_epoch())},
                      {"args",
                       {{"peak_device_bytes", memory_->peak_bytes},
                        {"planned_device_bytes", memory_->planned_bytes}}}});
  events.push_back(metadata("process_name", rank, 0, "rank " + std::to_string(rank)));
  for (size_t i = 0; i < tracks.names().size(); ++i)
    events.push_back(metadata("thread_name", rank, i, tracks.names()[i]));
  return events.dump();
}

void Trace::note_memory(uint64_t peak_bytes, uint64_t planned_bytes) {
  memory_ = {Clock::now(), peak_bytes, planned_bytes};
}

HostSpan::HostSpan(Trace* trace, const char* track, const char* name, int64_t layer)
    : trace_(trace), record_{{track, name, layer}, Clock::now(), {}} {}

HostSpan::~HostSpan() {
  if (trace_ == nullptr) return;
  record_.end = Clock::now();
  trace_->add(record_);
}

DeviceSpan::DeviceSpan(Trace* trace, const char* track, const char* name, int64_t layer)
    : trace_(trace) {
  if (trace_ == nullptr) return;
  if (trace_->device_.is_cpu()) {
    on_host_.emplace(trace, track, name, layer);
    return;
  }
  trace_->align_clocks();
  record_.emplace().label = {track, name, layer};
  record_->begin.record(trace_->device_);
}

DeviceSpan::~DeviceSpan() {
  if (!record_) return;
  try {
    record_->end.record(trace_->device_);
    trace_->add(std::move(*record_));
  } catch (const std::exception&) {
    // A device that failed: what it failed at is on its way already.
  }
}

double Trace::microseconds_at_start() { return microseconds(process_start().time_since_epoch()); }

std::string chrome_trace(const std::vector<std::string>& events_of_ranks, double start) {
  nlohmann::json all = nlohmann::json::array();
  for (const std::string& events : events_of_ranks) {
    nlohmann::json of_rank = nlohmann::json::parse(events);
    for (nlohmann::json& event : of_rank)
      if (event.contains("ts")) event["ts"] = event["ts"].get<double>() - start;
    std::move(of_rank.begin(), of_rank.end(), std::back_inserter(all));
  }
  return nlohmann::json{{"displayTimeUnit", "ms"}, {"traceEvents", std::move(all)}}.dump() + "\n";
}

}  // namespace kvcalib
