// SPDX-License-Identifier: Apache-2.0
#include "calibrate/command/service_options.h"

#include "calibrate/command/shared_options.h"
#include "calibrate/runtimes/turbomind/serving_load.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

constexpr int64_t kMostSessions = 1'000'000;
constexpr int64_t kMostSessionTokens = 100'000'000;

}  // namespace

void add_loads(Parser& parser, const std::string& group, ServiceOptions& service) {
  parser.numbers<int64_t>({group, "batch",
                           "sessions at once, a pair of rows for each number (default: "
                           "max_batch_size)",
                           "N,..."},
                          1, service.sessions);
  parser.number<int64_t>(
      {group, "session",
       concat("tokens of a session (default: session_len, or ", kUsualSessionTokens, ")"),
       "TOKENS"},
      1, service.session_tokens);
  parser.number<int64_t>(
      {group, "prompt", "tokens of the longest prompt (default: as the session)", "TOKENS"}, 1,
      service.prompt_tokens);
}

void check_loads(const Parser& parser, const ServiceOptions& service) {
  for (const int64_t sessions : service.sessions)
    check_limit(parser, "batch", sessions, kMostSessions);
  check_limit(parser, "session", service.session_tokens.value_or(1), kMostSessionTokens);
}

}  // namespace kvcalib
