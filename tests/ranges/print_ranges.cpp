// SPDX-License-Identifier: Apache-2.0
// print_ranges WEIGHTS IDS.npy OUT.safetensors: the ranges of a calibration on the CPU before they
// are rounded to 16 bits, which the program itself never writes, for comparison with a reference.
#include <fstream>
#include <iostream>
#include <memory>

#include "calibrate/data/windows.h"
#include "calibrate/engine/calibration_pass.h"
#include "calibrate/runtimes/runtime_table.h"
#include "calibrate/statistics/statistics_file.h"
#include "sharding/formats/open_weights.h"
#include "sharding/formats/weight_directory.h"
#include "sharding/ranks/make_communicator.h"
#include "tests/statistics/statistics_bytes.h"

int main(int argc, char** argv) {
  if (argc < 4 || argc > 5) {
    std::cerr << "usage: print_ranges WEIGHTS IDS.npy OUT.safetensors [RUNTIME]\n";
    return 2;
  }
  try {
    using namespace kvcalib;
    const std::unique_ptr<WeightDirectory> directory = open_weights(argv[1]);
    const WindowShape shape = stored_windows({argv[2]}).value();
    const TokenWindows windows =
        draw_windows({argv[2]}, {}, {shape.samples, shape.length}, directory->config().vocab);
    Rendezvous rendezvous({});
    const auto communicator = make_communicator({}, at::kCPU, rendezvous);
    const auto runtime = find_runtime(kTurboMind).open(argc == 5 ? argv[4] : "0.3.0");
    Provenance provenance;
    provenance.model = directory->config();
    const PassWindows pass{runtime->rotation(directory->config(), windows.length), windows.samples,
                           windows.length};
    const KvStatistics ranges =
        CalibrationPass(*directory, pass, {}, *communicator).run(windows.ids, {});
    std::ofstream(argv[3], std::ios::binary) << to_safetensors(ranges, provenance);
    return 0;
  } catch (const std::exception& failure) {
    std::cerr << failure.what() << "\n";
    return 1;
  }
}
