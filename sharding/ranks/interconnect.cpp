// SPDX-License-Identifier: Apache-2.0
#include "sharding/ranks/interconnect.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <sstream>
#include <utility>

namespace kvcalib {
namespace {

// By NCCL_TOPO_PATTERN_*.
std::string pattern_name(int pattern) {
  static const std::array<const char*, 7> kNames = {"",     "balanced tree", "split tree", "tree",
                                                    "ring", "nvls",          "collnet"};
  if (pattern > 0 && pattern < static_cast<int>(kNames.size()))
    return kNames[static_cast<size_t>(pattern)];
  return "pattern " + std::to_string(pattern);
}

std::optional<Interconnect::Graph> graph_of_line(const std::string& line) {
  const size_t start = line.find("Pattern ");
  if (start == std::string::npos) return std::nullopt;
  int pattern = 0, channels = 0;
  double bandwidth = 0;
  std::array<char, 8> link{}, network{};
  if (std::sscanf(line.c_str() + start,
                  "Pattern %d, crossNic %*d, nChannels %d, bw %lf/%*f, type %7[^/]/%7[^,],",
                  &pattern, &channels, &bandwidth, link.data(), network.data()) != 5)
    return std::nullopt;
  return Interconnect::Graph{pattern_name(pattern), channels, bandwidth, link.data(),
                             network.data()};
}

std::optional<int64_t> multicast_of_line(const std::string& line) {
  int channels = 0;
  const size_t start = line.find(" collnet channels, ");
  if (start == std::string::npos) return std::nullopt;
  if (std::sscanf(line.c_str() + start, " collnet channels, %d nvls channels", &channels) != 1)
    return std::nullopt;
  return channels;
}

}  // namespace

std::string format(const Interconnect& interconnect) {
  std::ostringstream text;
  text << interconnect.library;
  const char* separator = ": ";
  for (const Interconnect::Graph& graph : interconnect.graphs) {
    if (graph.channels == 0) continue;
    text << std::exchange(separator, ", ") << graph.pattern << " of " << graph.channels
         << " channels over " << graph.link;
  }
  if (interconnect.multicast_channels)
    text << (*interconnect.multicast_channels == 0 ? ", no multicast" : ", NVLink multicast");
  return text.str();
}

Interconnect interconnect_from_log(std::string library, std::string_view log) {
  Interconnect found;
  found.library = std::move(library);
  std::istringstream lines{std::string(log)};
  for (std::string line; std::getline(lines, line);) {
    // Ranks of one process share a log.
    if (const auto graph = graph_of_line(line);
        graph && std::find(found.graphs.begin(), found.graphs.end(), *graph) == found.graphs.end())
      found.graphs.push_back(*graph);
    if (const auto channels = multicast_of_line(line)) found.multicast_channels = channels;
  }
  return found;
}

}  // namespace kvcalib
