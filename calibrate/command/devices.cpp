// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/devices.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "sharding/files/error.h"
#include "sharding/streaming/device.h"

namespace kvcalib {
namespace {

constexpr int64_t kMostDevices = 127;  // c10::DeviceIndex has 8 bits

[[noreturn]] void refuse(const std::string& text) {
  throw UsageError(
      concat("--devices '", text, "': expected cpu, cpu:N, gpu, gpu:N or GPU numbers as 0,2,3"));
}

int64_t read_number(const std::string& whole, std::string_view part, int64_t least) {
  int64_t number = 0;
  const auto [end, failure] = std::from_chars(part.data(), part.data() + part.size(), number);
  if (failure != std::errc{} || end != part.data() + part.size() || number < least ||
      number > kMostDevices)
    refuse(whole);
  return number;
}

c10::Device gpu(const std::string& text, int64_t index, int64_t present) {
  if (index >= present && !built_with_cuda())
    throw Error(
        concat("--devices '", text, "': this program was built without CUDA; build it where ",
               "nvcc is found, as scripts/setup.sh --cuda installs it, or use --devices cpu"));
  if (index >= present)
    throw Error(concat("--devices '", text, "': there is no GPU ", index, ", this machine shows ",
                       present, "; check CUDA_VISIBLE_DEVICES, or use --devices cpu"));
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(index)};
}

DeviceList cpus(int64_t ranks) {
  return {std::vector<c10::Device>(static_cast<size_t>(ranks), c10::Device(c10::kCPU))};
}

DeviceList first_gpus(const std::string& text, int64_t count, int64_t present) {
  DeviceList list;
  for (int64_t i = 0; i < count; ++i) list.devices.push_back(gpu(text, i, present));
  return list;
}

DeviceList listed_gpus(const std::string& text, int64_t present) {
  std::vector<int64_t> numbers;
  for (std::string_view rest = text;;) {
    const size_t comma = rest.find(',');
    numbers.push_back(read_number(text, rest.substr(0, comma), 0));
    if (std::count(numbers.begin(), numbers.end(), numbers.back()) > 1)
      throw UsageError(concat("--devices '", text, "': names a GPU twice; one rank per GPU"));
    if (comma == std::string_view::npos) break;
    rest = rest.substr(comma + 1);
  }
  DeviceList list;
  for (const int64_t number : numbers) list.devices.push_back(gpu(text, number, present));
  return list;
}

}  // namespace

std::string DeviceList::text() const {
  if (devices.front().is_cpu()) return ranks() == 1 ? "cpu" : concat(ranks(), " CPU ranks");
  std::string names;
  for (const c10::Device& device : devices) names += (names.empty() ? "" : ", ") + device.str();
  return names;
}

DeviceList choose_devices(const std::string& text, bool planned) {
  if (text == "cpu") return cpus(1);
  if (text.starts_with("cpu:")) {
    const int64_t ranks = read_number(text, std::string_view(text).substr(4), 1);
    if (ranks > kMostCpuRanks)
      throw UsageError(concat("--devices '", text, "': at most ", kMostCpuRanks, " CPU ranks"));
    return cpus(ranks);
  }
  const int64_t present = planned && !text.empty() && text != "gpu" ? kMostDevices : gpu_count();
  if (text.empty()) return present > 0 ? first_gpus(text, present, present) : cpus(1);
  if (text == "gpu") return first_gpus(text, std::max<int64_t>(present, 1), present);
  if (text.starts_with("gpu:"))
    return first_gpus(text, read_number(text, std::string_view(text).substr(4), 1), present);
  return listed_gpus(text, present);
}

void check_device(const c10::Device& device, int64_t head_dim) {
  if (device.is_cpu()) return;
  const GpuProperties properties = gpu_properties(device);
  if (properties.major < 8)
    throw Error(concat("--devices ", device.str(), ": ", properties.name,
                       " has compute capability ", properties.major, ".", properties.minor,
                       ", the kernels need 8.0; use ", "--devices cpu"));
  if (head_dim % 8 != 0)
    throw Error(concat("--devices ", device.str(), ": the model's heads have ", head_dim,
                       " channels, attention on GPUs needs a multiple of 8; use --devices cpu"));
}

c10::Device device_of(const Rank& rank, const DeviceList& devices) {
  if (devices.devices.front().is_cpu()) return devices.devices.front();
  if (rank.local_index >= devices.ranks())
    throw UsageError(concat("LOCAL_RANK=", rank.local_index, " but --devices names ",
                            devices.ranks(), " GPUs; start one rank per GPU"));
  return devices.devices[static_cast<size_t>(rank.local_index)];
}

}  // namespace kvcalib
