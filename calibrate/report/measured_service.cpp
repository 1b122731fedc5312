// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/measured_service.h"

#include <algorithm>
#include <cstdlib>
#include <iomanip>
#include <nlohmann/json.hpp>

#include "calibrate/report/gigabytes.h"
#include "calibrate/report/serving_columns.h"
#include "calibrate/report/table.h"
#include "sharding/files/error.h"
#include "sharding/files/json_writer.h"

namespace kvcalib {
namespace {

std::string percent(uint64_t planned, uint64_t measured) {
  if (planned == 0) return "";
  return concat(std::fixed, std::setprecision(1), std::showpos, percent_off(planned, measured));
}

const char* in_a_word(Nearness nearness) {
  switch (nearness) {
    case Nearness::kWithin:
      return "yes";
    case Nearness::kBeyond:
      return "no";
    case Nearness::kDisturbed:
      return "disturbed";
    case Nearness::kNoRoom:
      break;
  }
  return "no room";
}

Table table_of(const MeasuredService& service) {
  Table table{{"sessions", "KV", ""}, 3, {}};
  for (const ServingColumn& column : kServingColumns) table.header.emplace_back(column.title);
  table.header.push_back(concat("within ", kNearPercent, " %"));
  for (size_t i = 0; i < service.measured.size(); ++i) {
    const ServingPlan::Row& row = service.plan.rows[i];
    const Measurement& measured = service.measured[i];
    if (!measured.held) continue;
    std::vector<std::string> planned = {concat(row.sessions),
                                        cache_name(service.plan.config, row.type), "planned"};
    std::vector<std::string> held = {"", "", "measured"}, off = {"", "", "off by %"};
    for (const ServingColumn& column : kServingColumns) {
      const uint64_t plan = column.bytes(row.memory), taken = column.bytes(measured.taken);
      planned.push_back(bare_gigabytes(plan));
      held.push_back(bare_gigabytes(taken));
      off.push_back(percent(plan, taken));
    }
    planned.emplace_back("");
    held.emplace_back("");
    off.emplace_back(in_a_word(nearness(row.memory, measured)));
    table.rows.insert(table.rows.end(), {planned, held, off});
  }
  return table;
}

std::string card_line(const MeasuredService& service) {
  const std::optional<uint64_t> others = service.others_bytes();
  return concat("card      ", service.gpu, ", ", gigabytes(service.card.total_bytes), ", ",
                others ? concat(gigabytes(*others), " held by other programs")
                       : std::string("what other programs hold is not known"),
                "\n");
}

// What kept a row out of the table, or its figures from meaning anything.
std::string remarks(const MeasuredService& service) {
  std::string text;
  for (size_t i = 0; i < service.measured.size(); ++i) {
    const ServingPlan::Row& row = service.plan.rows[i];
    const Measurement& measured = service.measured[i];
    const std::string load =
        concat(row.sessions, " sessions, ", cache_name(service.plan.config, row.type), ": ");
    if (!measured.held)
      text += concat("no room   ", load, "needs ", gigabytes(measured.needed_bytes),
                     " beside the context, the card has ", gigabytes(service.card.total_bytes),
                     ", ", gigabytes(measured.free_bytes), " of it free\n");
    if (nearness(row.memory, measured) == Nearness::kDisturbed)
      text += concat("disturbed ", load, "other programs ",
                     measured.others_bytes > 0 ? "took " : "gave back ",
                     gigabytes(static_cast<uint64_t>(std::abs(measured.others_bytes))),
                     " meanwhile; measure again on a GPU of your own\n");
  }
  return text;
}

std::vector<std::string> notes_of(const MeasuredService& service) {
  std::vector<std::string> notes = {
      service.context_bytes
          ? "context is this program's, with cuBLAS and its workspace; the runtime's kernels are "
            "not in it"
          : "context is as planned: without NVML (libnvidia-ml.so.1) it cannot be told from what "
            "other programs hold"};
  if (service.plan.load.ranks > 1)
    notes.push_back(concat("one rank of ", service.plan.load.ranks, " was held, all hold the same",
                           service.context_bytes ? "; NCCL, planned in context, was not" : ""));
  notes.insert(notes.end(), service.plan.notes.begin(), service.plan.notes.end());
  return notes;
}

nlohmann::ordered_json figures(const ServingMemory& memory) {
  nlohmann::ordered_json json;
  for (const ServingColumn& column : kServingColumns) json[column.key] = column.bytes(memory);
  return json;
}

nlohmann::ordered_json row_json(const MeasuredService& service, size_t i) {
  const ServingPlan::Row& row = service.plan.rows[i];
  const Measurement& measured = service.measured[i];
  nlohmann::ordered_json json = {{"sessions", row.sessions},
                                 {"kv", cache_name(service.plan.config, row.type)},
                                 {"held", measured.held},
                                 {"needed_bytes", measured.needed_bytes},
                                 {"free_bytes", measured.free_bytes},
                                 {"planned", figures(row.memory)}};
  const Nearness near = nearness(row.memory, measured);
  if (measured.held)
    json.update({{"measured", figures(measured.taken)},
                 {"percent_off", percent_off(row.memory.total(), measured.taken.total())}});
  json.update({{"others_changed_bytes", measured.others_bytes},
               {"disturbed", near == Nearness::kDisturbed},
               {"within", near == Nearness::kWithin}});
  return json;
}

template <typename Value>
nlohmann::ordered_json or_null(const std::optional<Value>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

}  // namespace

bool MeasuredService::any_held() const {
  return std::any_of(measured.begin(), measured.end(),
                     [](const Measurement& one) { return one.held; });
}

std::optional<uint64_t> MeasuredService::others_bytes() const {
  if (!context_bytes) return std::nullopt;
  return card.used_bytes > *context_bytes ? card.used_bytes - *context_bytes : 0;
}

std::string format_measured(const MeasuredService& service) {
  std::string text = serving_heading(service.plan) + card_line(service) + "\n";
  if (service.any_held())
    text += concat("GB that one rank holds of its GPU, as planned and by the driver's figures\n",
                   text_table(table_of(service)), "\n");
  text += remarks(service);
  for (const std::string& note : notes_of(service)) text += concat("note      ", note, "\n");
  return text;
}

std::string measured_json(const MeasuredService& service) {
  const ServingPlan& plan = service.plan;
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (size_t i = 0; i < service.measured.size(); ++i) rows.push_back(row_json(service, i));
  return json_text({{"gpu", service.gpu},
                    {"card_bytes", service.card.total_bytes},
                    {"context_bytes", or_null(service.context_bytes)},
                    {"others_bytes", or_null(service.others_bytes())},
                    {"devices", plan.load.ranks},
                    {"runtime", plan.runtime},
                    {"session_tokens", plan.load.session_tokens},
                    {"prompt_tokens", plan.load.prompt_tokens},
                    {"settings", plan.settings},
                    {"within_percent", kNearPercent},
                    {"rows", rows},
                    {"notes", notes_of(service)}});
}

}  // namespace kvcalib
