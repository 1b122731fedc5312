// SPDX-License-Identifier: Apache-2.0
// bench_engine pass      times the layers' phase in one process, with and without the observer in
//                        turn
// bench_engine read      times the reading of all layers, and in turn the same bytes by plain pread
// bench_engine generate  times the steps of decoding with a cache of 16 bits, of int8, and of both
// bench_engine gather    times the all-gather of a layer's bytes between ranks, and nothing beside
// it One JSON object goes to stdout.  Figures are medians over the turns; gigabytes are 1e9 bytes.
#include "tests/benchmarks/bench_engine.h"

#include <c10/util/Exception.h>

#include <cxxopts.hpp>
#include <iostream>
#include <map>

#include "sharding/files/error.h"
#include "sharding/streaming/device.h"

namespace kvcalib {
namespace {

constexpr const char* kUsage = "usage: bench_engine pass|read|generate|gather [OPTION...]";

using Benchmark = nlohmann::ordered_json (*)(const EngineBenchmark&);
const std::map<std::string, Benchmark> kCommands = {{"pass", benchmark_pass},
                                                    {"read", benchmark_read},
                                                    {"generate", benchmark_generate},
                                                    {"gather", benchmark_gather}};

// As kvcalib itself reads.
int64_t default_reading_threads(const c10::Device& device) { return device.is_cuda() ? 12 : 2; }

cxxopts::Options declare_options(const std::string& command) {
  cxxopts::Options options("bench_engine " + command);
  auto add = options.add_options();
  const auto text = [] { return cxxopts::value<std::string>(); };
  const auto number = [] { return cxxopts::value<int64_t>(); };
  add("device", "cpu or cuda", text()->default_value("cpu"), "NAME");
  add("repeat", "turns", number()->default_value("3"), "N");
  add("help", "print this and leave");
  if (command == "gather") {
    add("ranks", "threads, each with a GPU of its own", number(), "N");
    add("bytes", "of the whole that every rank has in the end", number(), "N");
    return options;
  }
  add("weights", "TurboMind weights directory", text(), "DIR");
  add("reading-threads", "threads that read (default: 2 for a CPU, 12 for a GPU)", number(), "N");
  if (command == "pass") {
    add("windows", "windows of random ids", number(), "N");
    add("length", "tokens in a window", number(), "N");
    add("micro-batch", "tokens at a time (default: kvcalib's)", number(), "TOKENS");
  } else if (command == "generate") {
    add("prompts", "of random ids, which decode together", number(), "N");
    add("length", "tokens of a prompt", number(), "N");
    add("new", "tokens behind it", number()->default_value("16"), "N");
  } else {
    add("cold", "drop the files from the page cache before each reading");
  }
  return options;
}

// A number of at least 1; `otherwise` where the option is not given and there is a default.
int64_t positive(const cxxopts::ParseResult& given, const std::string& name,
                 std::optional<int64_t> otherwise) {
  if (given.count(name) == 0 && otherwise) return *otherwise;
  if (given.count(name) == 0) throw UsageError(concat("--", name, " is missing"));
  const auto value = given[name].as<int64_t>();
  if (value < 1) throw UsageError(concat("--", name, " ", value, ": expected at least 1"));
  return value;
}

c10::Device device_named(const std::string& name) {
  if (name == "cpu") return c10::kCPU;
  if (name != "cuda") throw UsageError(concat("--device ", name, ": expected cpu or cuda"));
  if (gpu_count() == 0)
    throw Error("--device cuda: there is no CUDA device here; use --device cpu");
  const c10::Device gpu(c10::kCUDA, 0);
  set_gpu(gpu);
  return gpu;
}

EngineBenchmark read_options(const std::string& command, const cxxopts::ParseResult& given) {
  if (!given.unmatched().empty())
    throw UsageError(concat("unexpected argument '", given.unmatched().front(), "'"));
  EngineBenchmark benchmark;
  benchmark.repeat = positive(given, "repeat", 3);
  benchmark.device = device_named(given["device"].as<std::string>());
  if (command == "gather") {
    benchmark.ranks = positive(given, "ranks", {});
    benchmark.bytes = positive(given, "bytes", {});
    return benchmark;
  }
  if (given.count("weights") == 0) throw UsageError("--weights is missing");
  benchmark.weights = given["weights"].as<std::string>();
  if (command == "pass") {
    benchmark.windows = positive(given, "windows", {});
    benchmark.length = positive(given, "length", {});
    benchmark.micro_batch_tokens = positive(given, "micro-batch", 0);
  } else if (command == "generate") {
    benchmark.windows = positive(given, "prompts", {});
    benchmark.length = positive(given, "length", {});
    benchmark.most_new = positive(given, "new", {});
    if (benchmark.most_new < 2) throw UsageError("--new 1: expected at least 2, of a step");
  } else {
    benchmark.cold = given.count("cold") > 0;
  }
  benchmark.reading_threads =
      positive(given, "reading-threads", default_reading_threads(benchmark.device));
  return benchmark;
}

int run(int argc, char** argv) {
  const std::string command = argc > 1 ? argv[1] : "--help";
  if (command == "--help") {
    std::cout << kUsage << "\n";
    for (const auto& [name, measure] : kCommands) std::cout << declare_options(name).help();
    return 0;
  }
  const auto found = kCommands.find(command);
  if (found == kCommands.end())
    throw UsageError(concat("unknown command '", command, "'; ", kUsage));
  cxxopts::Options options = declare_options(command);
  const cxxopts::ParseResult given = options.parse(argc - 1, argv + 1);
  if (given.count("help") > 0) {
    std::cout << options.help();
    return 0;
  }
  std::cout << found->second(read_options(command, given)).dump(2) << "\n";
  return 0;
}

int fail(const std::string& message, int exit_code) {
  std::cerr << "bench_engine: error: " << message << "\n";
  return exit_code;
}

}  // namespace
}  // namespace kvcalib

int main(int argc, char** argv) {
  try {
    return kvcalib::run(argc, argv);
  } catch (const cxxopts::exceptions::exception& failure) {
    return kvcalib::fail(failure.what(), 2);
  } catch (const kvcalib::UsageError& failure) {
    return kvcalib::fail(failure.what(), 2);
  } catch (const c10::Error& failure) {
    return kvcalib::fail(failure.what_without_backtrace(), 1);
  } catch (const std::exception& failure) {
    return kvcalib::fail(failure.what(), 1);
  }
}
