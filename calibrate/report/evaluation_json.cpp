// SPDX-License-Identifier: Apache-2.0
#include "calibrate/report/evaluation_json.h"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "calibrate/delivery/program_version.h"
#include "calibrate/report/task_json.h"
#include "sharding/files/json_writer.h"

namespace kvcalib {
namespace {

using Json = nlohmann::ordered_json;  // which writes null for what is not finite

constexpr double kPercent = 100;

// The percentiles by name: "p99", "median"; those that llama.cpp prints.
template <size_t Count>
void add_percentiles(Json& json, const std::array<double, Count>& percents,
                     const std::vector<double>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (percents[i] == 50) continue;  // the median stands with the mean
    std::string name = "p" + std::to_string(static_cast<int>(percents[i]));
    if (percents[i] == 99.9) name = "p99_9";
    if (percents[i] == 0.1) name = "p0_1";
    if (percents[i] == 100) name = "max";
    if (percents[i] == 0) name = "min";
    json[name] = values[i];
  }
}

template <size_t Count>
double median_of(const std::array<double, Count>& percents, const std::vector<double>& values) {
  for (size_t i = 0; i < values.size(); ++i)
    if (percents[i] == 50) return values[i];
  return kUnknown;
}

Json divergence_json(const StreamMeasures& measures) {
  Json json = {{"mean", measures.divergence.value},
               {"mean_error", measures.divergence.error},
               {"median", median_of(kDivergencePercents, measures.divergence_at)},
               {"p99", kUnknown},
               {"max", kUnknown}};
  add_percentiles(json, kDivergencePercents, measures.divergence_at);
  json.update({{"reverse_mean", measures.reverse_divergence.value},
               {"reverse_mean_error", measures.reverse_divergence.error},
               {"more_than_second_stream", measures.divergence_excess.value},
               {"more_than_second_stream_error", measures.divergence_excess.error}});
  return json;
}

Json change_json(const StreamMeasures& measures) {
  Json json = {{"mean", measures.change.value},
               {"mean_error", measures.change.error},
               {"rms", measures.change_rms.value},
               {"rms_error", measures.change_rms.error},
               {"median", median_of(kChangePercents, measures.change_at)}};
  add_percentiles(json, kChangePercents, measures.change_at);
  return json;
}

Json places_json(const std::vector<PlaceMeasures>& places) {
  Json list = Json::array();
  for (const PlaceMeasures& place : places)
    list.push_back({{"first", place.first},
                    {"last", place.last},
                    {"tokens", place.tokens},
                    {"kld", place.divergence.value},
                    {"kld_error", place.divergence.error},
                    {"kld_reverse", place.reverse_divergence.value},
                    {"kld_reverse_error", place.reverse_divergence.error},
                    {"ln_ratio", place.log_ratio.value},
                    {"ln_ratio_error", place.log_ratio.error},
                    {"delta_p", place.change.value},
                    {"delta_p_error", place.change.error},
                    {"delta_p_rms", place.change_rms.value},
                    {"delta_p_rms_error", place.change_rms.error},
                    {"same_top_p", place.same_top.value},
                    {"same_top_p_error", place.same_top.error}});
  return list;
}

double clipped_of(const Measured& measured, size_t stream) {
  for (const ProfiledStream& profile : measured.profiles)
    if (profile.stream == stream) return kPercent * profile.clipped;
  return kUnknown;
}

Json stream_json(const Measured& measured, size_t stream) {
  const StreamInfo& info = measured.streams[stream];
  const StreamMeasures measures = measured.text ? measured.text->streams[stream] : StreamMeasures();
  return {{"name", info.name},
          {"ppl", measures.perplexity.value},
          {"ppl_ratio", measures.ratio.value},
          {"kld", divergence_json(measures)},
          {"same_top_p", measures.same_top.value},
          {"clipped", clipped_of(measured, stream)},
          {"description", info.description},
          {"compared_only", info.is_compared_only},
          {"ppl_error", measures.perplexity.error},
          {"ppl_ratio_error", measures.ratio.error},
          {"ppl_difference", measures.difference.value},
          {"ppl_difference_error", measures.difference.error},
          {"ln_ratio", measures.log_ratio.value},
          {"ln_ratio_error", measures.log_ratio.error},
          {"ln_correlation", measures.correlation},
          {"same_top_p_error", measures.same_top.error},
          {"delta_p", change_json(measures)},
          {"tokens_not_finite", measures.not_finite},
          {"by_position", places_json(measures.places)}};
}

Json copy_json(const Measured& measured) {
  Json list = Json::array();
  for (const CopyDistance& copy : measured.copy) {
    Json streams = Json::array();
    for (size_t s = 0; s < copy.measures.streams.size(); ++s) {
      const StreamMeasures& measures = copy.measures.streams[s];
      streams.push_back({{"name", measured.streams[s].name},
                         {"surprise", measures.surprise.value},
                         {"surprise_error", measures.surprise.error},
                         {"change", measures.log_ratio.value},
                         {"change_error", measures.log_ratio.error},
                         {"kld", measures.divergence.value},
                         {"kld_error", measures.divergence.error},
                         {"same_top_p", measures.same_top.value},
                         {"tokens_not_finite", measures.not_finite}});
    }
    list.push_back({{"distance", copy.distance},
                    {"windows", copy.measures.windows},
                    {"tokens", copy.measures.tokens},
                    {"cannot_copy", cannot_copy(copy, measured.vocab)},
                    {"streams", streams}});
  }
  return list;
}

Json tensor_json(const TensorFigures& figures) {
  return {{"clipped", kPercent * figures.clipped},
          {"unused", kPercent * figures.unused()},
          {"error", figures.error}};
}

Json layers_json(const Measured& measured) {
  Json list = Json::array();
  for (const ProfiledStream& profile : measured.profiles) {
    Json layers = Json::array();
    for (const LayerFigures& layer : profile.layers) {
      Json ranks = Json::array();
      for (const RankFigures& rank : layer.ranks)
        ranks.push_back({{"k", tensor_json(rank.keys)},
                         {"v", tensor_json(rank.values)},
                         {"error", rank.both_error}});
      layers.push_back({{"ranks", ranks}, {"hidden_error", layer.hidden_error}});
    }
    list.push_back({{"name", measured.streams[profile.stream].name},
                    {"findings", profile.findings},
                    {"layers", layers}});
  }
  return list;
}

}  // namespace

std::string evaluation_json(const Evaluation& evaluation) {
  const Measured& measured = evaluation.measured;
  Json streams = Json::array();
  for (size_t s = 0; s < measured.streams.size(); ++s) streams.push_back(stream_json(measured, s));
  Json json = {{"program", "kvcalib"},
               {"version", program_version()},
               {"model", evaluation.model},
               {"runtime", evaluation.runtime},
               {"data", Json::array()},
               {"length", evaluation.length},
               {"limit", nullptr},
               {"seed", evaluation.seed},
               {"control_is_zero", nullptr},
               {"streams", streams},
               {"text", nullptr},
               {"copy", copy_json(measured)},
               {"recall", tasks_json(measured.recall, measured.streams)},
               {"tasks", tasks_json(measured.tasks, measured.streams)},
               {"task_totals", task_totals_json(measured)},
               {"report", report_json(measured)},
               {"layers", layers_json(measured)},
               {"verdict", evaluation.verdict},
               {"gates", nullptr},
               {"notes", evaluation.notes}};
  for (const DataFile& file : evaluation.data)
    json["data"].push_back({{"file", file.path}, {"sha256", file.sha256}});
  if (evaluation.failed_gates)
    json["gates"] = {{"kept", evaluation.failed_gates->empty()},
                     {"failed", *evaluation.failed_gates}};
  if (evaluation.limit) json["limit"] = *evaluation.limit;
  if (measured.is_control_zero) json["control_is_zero"] = *measured.is_control_zero;
  if (measured.text)
    json["text"] = {{"windows", measured.text->windows}, {"tokens", measured.text->tokens}};
  return json_text(std::move(json));
}

}  // namespace kvcalib
