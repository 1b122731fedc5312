// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/serving_table.h"

#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "calibrate/report/gigabytes.h"
#include "calibrate/report/serving_columns.h"
#include "sharding/files/error.h"
#include "sharding/files/json_writer.h"
#include "sharding/formats/model_config_json.h"

namespace kvcalib {
namespace {

constexpr int kSessionsWidth = 8, kTypeWidth = 6, kColumnWidth = 9, kTokensWidth = 10;

bool fits(const ServingPlan& plan, const ServingPlan::Row& row) {
  return row.memory.total() <= plan.load.card_bytes;
}

std::string remark(const ServingPlan& plan, const ServingPlan::Row& row) {
  if (!fits(plan, row)) return "  more than the card has";
  if (row.memory.cached_sessions >= row.sessions) return "";
  return "  room for " + std::to_string(row.memory.cached_sessions) + " of the sessions";
}

void add_table(std::ostream& text, const ServingPlan& plan) {
  text << std::right << std::setw(kSessionsWidth) << "sessions" << std::setw(kTypeWidth) << "KV";
  for (const ServingColumn& column : kServingColumns)
    text << std::setw(kColumnWidth) << column.title;
  text << std::setw(kTokensWidth) << "tokens"
       << "\n";
  for (const ServingPlan::Row& row : plan.rows) {
    text << std::setw(kSessionsWidth) << row.sessions << std::setw(kTypeWidth)
         << cache_name(plan.config, row.type);
    for (const ServingColumn& column : kServingColumns)
      text << std::setw(kColumnWidth) << bare_gigabytes(column.bytes(row.memory));
    text << std::setw(kTokensWidth) << row.memory.cached_tokens << remark(plan, row) << "\n";
  }
}

}  // namespace

std::string serving_heading(const ServingPlan& plan) {
  const ModelConfig& config = plan.config;
  const auto card = plan.load.card_bytes >> 30U;
  const char* gpus = plan.load.ranks == 1 ? " GPU of " : " GPUs of ";
  return concat("model     ", config.layers, " layers, hidden ", config.hidden, ", ", config.heads,
                " heads, ", config.kv_heads, " kv heads x ", config.head_dim, ", intermediate ",
                config.intermediate, ", vocab ", config.vocab, "\nservice   ", plan.load.ranks,
                gpus, card, " GiB (", gigabytes(plan.load.card_bytes), "), TurboMind ",
                plan.runtime, ", sessions of ", plan.load.session_tokens,
                " tokens, all begun in one prefill, the longest prompt ", plan.load.prompt_tokens,
                "\nsettings  ", plan.settings, "\n");
}

std::string format_serving(const ServingPlan& plan) {
  const ModelConfig& config = plan.config;
  std::ostringstream text;
  text << serving_heading(plan)
       << "\nGB on each GPU at the peak; tokens: that the cache has room for\n";
  add_table(text, plan);
  text << "\nroom for  " << plan.fitting_sixteen_bits << " sessions with "
       << cache_name(config, CacheType::kSixteenBits) << ", " << plan.fitting_int8 << " with int8"
       << (plan.limited_by_entries ? ", as cache_max_entry_count allows" : "") << "\n"
       << "calibrate " << gigabytes(plan.calibration_bytes)
       << " on each of as many GPUs, with its defaults\n"
       << "evaluate  " << gigabytes(plan.evaluation_bytes)
       << " at least, for one int8 cache; more, up to half of what is free, spares readings\n";
  for (const std::string& note : plan.notes) text << "note      " << note << "\n";
  return text.str();
}

std::string serving_json(const ServingPlan& plan) {
  const nlohmann::json model = plan.config;
  nlohmann::ordered_json json;
  for (const char* key : kDimensionKeys) json[key] = model[key];
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const ServingPlan::Row& row : plan.rows) {
    nlohmann::ordered_json one = {{"sessions", row.sessions},
                                  {"kv", cache_name(plan.config, row.type)}};
    for (const ServingColumn& column : kServingColumns) one[column.key] = column.bytes(row.memory);
    one.update({{"cached_tokens", row.memory.cached_tokens},
                {"cached_sessions", row.memory.cached_sessions},
                {"fits", fits(plan, row)}});
    rows.push_back(one);
  }
  json.update({{"devices", plan.load.ranks},
               {"card_bytes", plan.load.card_bytes},
               {"runtime", plan.runtime},
               {"session_tokens", plan.load.session_tokens},
               {"prompt_tokens", plan.load.prompt_tokens},
               {"settings", plan.settings},
               {"rows", rows},
               {"sessions_that_fit",
                {{cache_name(plan.config, CacheType::kSixteenBits), plan.fitting_sixteen_bits},
                 {"int8", plan.fitting_int8}}},
               {"calibrate_bytes_per_device", plan.calibration_bytes},
               {"evaluate_bytes_per_device", plan.evaluation_bytes},
               {"notes", plan.notes}});
  return json_text(std::move(json));
}

}  // namespace kvcalib
