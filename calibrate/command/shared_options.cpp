// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/shared_options.h"

#include <algorithm>
#include <cctype>
#include <functional>
#include <iterator>

#include "calibrate/command/nearest.h"
#include "calibrate/statistics/session_ranges.h"
#include "sharding/files/error.h"
#include "sharding/ranks/rank.h"

namespace kvcalib {
namespace {

std::string lower_case(std::string text) {
  for (char& letter : text)
    letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return text;
}

// Whether `text` has these letters in their order, whatever stands between.
bool has_in_order(std::string_view text, std::string_view letters) {
  for (const char letter : text)
    if (!letters.empty() && letters.front() == letter) letters.remove_prefix(1);
  return letters.empty();
}

// Those that a wrong name may have meant: that it begins, that have it within, then with other
// letters between.
std::vector<std::string> meant(const std::string& wrong, const std::vector<std::string>& known) {
  const std::string given = lower_case(wrong);
  const std::vector<std::function<bool(const std::string&)>> ways{
      [&](const std::string& name) { return name == given; },
      [&](const std::string& name) { return name.starts_with(given); },
      [&](const std::string& name) { return name.find(given) != std::string::npos; },
      [&](const std::string& name) { return given.size() > 2 && has_in_order(name, given); }};
  for (const auto& way : ways) {
    std::vector<std::string> found;
    std::copy_if(known.begin(), known.end(), std::back_inserter(found), way);
    if (found.empty()) continue;
    const std::optional<std::string> near = nearest(given, found);
    return near && &way == &ways.back() ? std::vector<std::string>{*near} : found;
  }
  const std::optional<std::string> near = nearest(given, known);
  return near ? std::vector<std::string>{*near} : std::vector<std::string>{};
}

std::string joined(const std::vector<std::string>& names, std::string_view between = ", ") {
  std::string text;
  for (const std::string& name : names) text += concat(text.empty() ? "" : between, name);
  return text;
}

[[noreturn]] void refuse_reader(const Parser& parser, const std::string& reader,
                                const std::vector<std::string>& known) {
  const std::vector<std::string> near = reader.empty() ? known : meant(reader, known);
  const std::string did_you_mean =
      near.empty() || near.size() > 3 ? "" : concat("; did you mean ", joined(near, " or "), "?");
  parser.fail(concat("--for ", reader, ": nobody that kvcalib makes files for, which are ",
                     joined(known), did_you_mean));
}

}  // namespace

void add_weights(Parser& parser, std::filesystem::path& weights, const std::string& help) {
  parser.value({"Input", "weights", help, "DIR"}, weights);
  parser.require("weights");
}

void add_force(Parser& parser, bool& force, const std::string& replaced) {
  parser.flag("Output", "force", "replace " + replaced, force);
}

void add_readers(Parser& parser, std::vector<std::string>& readers) {
  parser.list({"Output", "for",
               concat("who reads the files, of ", joined(reader_names()),
                      "; of several each has a folder (default ", readers.front(), ")"),
               "NAME,..."},
              readers);
}

void add_runtime(Parser& parser, std::string& runtime) {
  parser.value({"Output", "runtime",
                concat("TurboMind release that will read them (default ", runtime, ")"), "VERSION"},
               runtime);
}

void add_serving(Parser& parser, std::string& runtime, std::optional<int64_t>& ranks) {
  add_runtime(parser, runtime);
  parser.number<int64_t>(
      {"Output", "serving-tp", "ranks that will serve (default: the ranks the weights are cut for)",
       "N"},
      1, ranks);
}

void add_delivery(Parser& parser, OutputOptions& output, ScaleOptions& scales,
                  GivenMethod& method) {
  add_output(parser, output.output, "files");
  parser.flag("Output", "in-place", "put the files into the weights directory, all at once",
              output.in_place);
  add_readers(parser, scales.readers);
  add_serving(parser, scales.runtime.release, scales.serving_ranks);
  parser.value({"Output", "method",
                concat("how scales are made, of ", method_names(),
                       " (default: ", scales.method.text(), "); of turbomind's files alone"),
                "NAME"},
               method.name);
  add_session_length(parser, scales.session_length);
  parser.flag("Output", "symmetric", "the same as --method symmetric", method.is_symmetric);
  add_force(parser, output.force, "existing scale files or an earlier output");
}

void add_session_length(Parser& parser, std::optional<int64_t>& tokens) {
  parser.number<int64_t>(
      {"Output", "session-len",
       "tokens of the longest session that will be served, for which K's ranges "
       "are derived (default: session_len, or a window's); of turbomind's files alone",
       "N"},
      1, tokens);
}

void check_session_length(const Parser& parser, const std::optional<int64_t>& tokens) {
  check_limit(parser, "session-len", tokens.value_or(1), kLongestSession);
}

void check_limit(const Parser& parser, const char* option, int64_t value, int64_t most) {
  if (value > most)
    parser.fail(concat("--", option, " '", value, "': expected a whole number of at most ", most));
}

void check_serving(const Parser& parser, const std::optional<int64_t>& ranks) {
  check_limit(parser, "serving-tp", ranks.value_or(1), kMostRanks);
}

void check_place(const Parser& parser, const OutputOptions& output, bool needed) {
  if (output.output && output.in_place) parser.fail("--output and --in-place exclude each other");
  if (needed && !output.output && !output.in_place)
    parser.fail("where do the files go? give --output DIR or --in-place");
}

void check_readers(const Parser& parser, const std::vector<std::string>& readers) {
  const std::vector<std::string> known = reader_names();
  const auto names = [&](std::string_view name) {
    return std::count(readers.begin(), readers.end(), name);
  };
  if (readers.empty()) parser.fail("--for names nobody");
  bool counts_ranks = names(kTurboMind) > 0;
  for (const std::string& reader : readers) {
    if (std::find(known.begin(), known.end(), reader) == known.end())
      refuse_reader(parser, reader, known);
    if (names(reader) > 1) parser.fail(concat("--for names ", reader, " twice"));
    const ScaleExporter* const exporter = find_exporter(reader);
    counts_ranks = counts_ranks || (exporter != nullptr && exporter->counts_ranks);
  }
  for (const char* const option : {"runtime", "method", "symmetric", "session-len"})
    if (names(kTurboMind) == 0 && parser.given(option))
      parser.fail(concat("--", option, " is of turbomind, which --for does not name"));
  if (!counts_ranks && parser.given("serving-tp"))
    parser.fail("--serving-tp changes nothing for those that --for names");
  if (parser.given("in-place") && (readers.size() > 1 || names(kTurboMind) == 0))
    parser.fail("--in-place is of turbomind alone; give --output DIR");
}

std::string method_names() {
  std::string names;
  for (const ScaleMethod& method : ScaleMethod::all())
    names += (names.empty() ? "" : ", ") + method.text();
  return names;
}

ScaleMethod read_method(const Parser& parser, const std::string& given) {
  try {
    return ScaleMethod::parse(given);
  } catch (const Error& error) {
    parser.fail(concat("--method ", given, ": ", error.what()));
  }
}

void take_method(const Parser& parser, const GivenMethod& given, ScaleOptions& scales) {
  if (given.name && given.is_symmetric) parser.fail("--symmetric and --method exclude each other");
  if (given.is_symmetric) scales.method = ScaleMethod::kSymmetric;
  if (given.name) scales.method = read_method(parser, *given.name);
}

void add_quiet(Parser& parser, bool& quiet) {
  parser.flag("Other", "quiet", "no progress on stderr", quiet);
}

void add_json(Parser& parser, bool& json) {
  parser.flag("Other", "json", "results on stdout as JSON", json);
}

void add_trace(Parser& parser, std::optional<std::filesystem::path>& trace) {
  parser.value({"Other", "trace",
                "write a Chrome trace of where the time went, for ui.perfetto.dev", "FILE"},
               trace);
}

}  // namespace kvcalib
