// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kvcalib {

// What carries bytes between the ranks of a run.
struct Interconnect {
  // One of the patterns that NCCL laid over the links.
  struct Graph {
    std::string pattern;  // ring, tree, ...
    int64_t channels = 0;
    double bandwidth = 0;  // of a channel between GPUs of one machine, as NCCL rates it, in GB/s
    std::string link;      // between them: NVL, PIX, PHB, SYS, ... (NCCL's names)
    std::string network;   // the same between machines

    bool operator==(const Graph&) const = default;
  };

  std::string library;  // with its version; empty for a single rank
  std::vector<Graph> graphs;
  std::optional<int64_t> multicast_channels;  // NVLink SHARP's; not known without NCCL's log
};

// As a sentence for people.
std::string format(const Interconnect& interconnect);

// The graphs and channels in a log of NCCL at level INFO with the subsystems INIT and GRAPH
// (formats of ncclTopoPrintGraph and of initTransportsRank, NCCL 2.19 to 2.28).  What is not in it
// stays unknown.
Interconnect interconnect_from_log(std::string library, std::string_view log);

}  // namespace kvcalib
