// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <c10/core/Device.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sharding/streaming/device.h"

namespace kvcalib {

// Where one rank's time goes: spans of work on named tracks.  Any thread may record.
class Trace {
 public:
  explicit Trace(const c10::Device& device) : device_(device) {}

  // The spans of this rank as an array of the Chrome trace event format, times in microseconds of
  // the host's steady clock, which all processes of a machine share.  Waits for the device.
  std::string events(int64_t rank);
  // What the device's memory held at most, and what was planned for it: an event of its own.
  void note_memory(uint64_t peak_bytes, uint64_t planned_bytes);
  // That clock when this process began.
  static double microseconds_at_start();

 private:
  friend class HostSpan;
  friend class DeviceSpan;
  using Clock = std::chrono::steady_clock;

  struct Label {
    const char* track;
    const char* name;
    int64_t layer;  // -1: of no layer
  };
  struct HostRecord {
    Label label;
    Clock::time_point begin, end;
  };
  struct DeviceRecord {
    Label label;
    GpuEvent begin{GpuEvent::Kind::kTimed}, end{GpuEvent::Kind::kTimed};
  };

  void add(const HostRecord& record);
  void add(DeviceRecord record);
  // Ties the device's clock to the host's, once.
  void align_clocks();

  const c10::Device device_;
  std::mutex mutex_;
  std::vector<HostRecord> host_;
  std::vector<DeviceRecord> device_records_;
  struct MemoryRecord {
    Clock::time_point time;
    uint64_t peak_bytes, planned_bytes;
  };
  std::optional<MemoryRecord> memory_;
  std::once_flag aligned_;
  GpuEvent base_{GpuEvent::Kind::kTimed};  // recorded at base_time_
  Clock::time_point base_time_;
};

// The time of this thread from construction to destruction.  A null trace records nothing; names
// outlive the trace.
class HostSpan {
 public:
  HostSpan(Trace* trace, const char* track, const char* name, int64_t layer = -1);
  ~HostSpan();
  HostSpan(const HostSpan&) = delete;
  HostSpan& operator=(const HostSpan&) = delete;

 private:
  Trace* trace_;
  Trace::HostRecord record_;
};

// The time that the device spends on what is enqueued on its current stream between construction
// and destruction.  On a CPU the same as HostSpan.
class DeviceSpan {
 public:
  DeviceSpan(Trace* trace, const char* track, const char* name, int64_t layer = -1);
  ~DeviceSpan();
  DeviceSpan(const DeviceSpan&) = delete;
  DeviceSpan& operator=(const DeviceSpan&) = delete;

 private:
  Trace* trace_;
  std::optional<HostSpan> on_host_;
  std::optional<Trace::DeviceRecord> record_;
};

// How the text of chrome_trace begins.
inline constexpr std::string_view kChromeTraceBegin =
    "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[";

// A Chrome trace file (chrome://tracing, ui.perfetto.dev) of the events of all ranks, times counted
// from `start` microseconds.
std::string chrome_trace(const std::vector<std::string>& events_of_ranks, double start);

}  // namespace kvcalib
