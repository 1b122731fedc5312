// SPDX-License-Identifier: Apache-2.0
#include "calibrate/runtimes/turbomind/rules.h"

#include <numeric>

#include "calibrate/runtimes/turbomind/deployed_config.h"
#include "calibrate/runtimes/turbomind/rotation.h"
#include "sharding/files/error.h"

namespace kvcalib {
namespace {

using Kind = RopeScaling::Kind;
using Release = TurboMindRelease;

constexpr double kDefaultRopeTheta = 10000.0;

// A model before a release, and what the rules say of it: `found` of weights that lie there, in
// terms of config.ini; `of_model` of those that are still to be cut.
struct Case {
  const ModelConfig& model;
  const Release& release;
  int64_t ranks = 1;
  int64_t embedding_rows = 0;  // on disk; 0: not known
  bool to_be_cut = false;
  RuntimeFindings found = {};
  std::vector<std::string> of_model = {};

  void fault(std::string text) { found.faults.push_back(std::move(text)); }
  void warn(std::string text) { found.warnings.push_back(std::move(text)); }
  void fault_of_model(std::string text) { of_model.push_back(std::move(text)); }
};

std::string no_release() {
  return concat("no release up to ", turbomind_releases().back().name(), " does that");
}

void check_shape(Case& c) {
  const ModelConfig& model = c.model;
  const int64_t head_dim = c.release.head_dim;
  if (model.head_dim != head_dim)
    c.fault_of_model(concat("heads of ", model.head_dim, " channels: TurboMind's have ", head_dim,
                            "; no release serves this model"));
  else if (model.hidden != model.heads * model.head_dim)
    c.fault_of_model(concat("a hidden size of ", model.hidden, ", but ", model.heads, " heads of ",
                            head_dim, " channels: TurboMind knows no other hidden size than ",
                            model.heads * model.head_dim, "; no release serves this model"));
}

void check_attention(Case& c) {
  const ModelConfig& model = c.model;
  if (model.query_key_norm)
    c.fault_of_model(concat("q and k are normalised by head: ", no_release()));
  if (model.mlp_bias)
    c.fault_of_model(concat("gate, up and down have biases (mlp_bias): ", no_release()));
  if (effective_window(model, model.max_position_embeddings) > 0)
    c.fault_of_model(concat("attention through a sliding window of ", model.sliding_window, " of ",
                            model.max_position_embeddings, " positions: ", no_release()));
}

void check_type(Case& c) {
  if (c.model.weight_type != WeightType::kBFloat16) return;
  const std::string release = c.release.name();
  const std::string way_out = concat("; serve with ", since(&Release::int8_beside_bfloat16),
                                     ", or deploy the model as fp16");
  if (!c.release.reads_bfloat16)
    c.fault(concat("weight_type = bf16: ", release, " reads all weights as fp16", way_out));
  else if (!c.release.int8_beside_bfloat16)
    c.fault(concat("weight_type = bf16: decoding in ", release, " ignores int8 KV for bf16 models ",
                   "and corrupts the cache", way_out));
  else
    c.warn(concat("weight_type = bf16: ", release, " has int8 KV for bf16 only on GPUs of compute ",
                  "capability 8.0 and above"));
  if (!c.release.reads_bfloat16 && !c.model.own_rotation)  // a converter makes it fp16
    c.fault_of_model(concat("weight_type = bf16: ", release, " reads all weights as fp16; take ",
                            since(&Release::reads_bfloat16)));
}

// What stretches a model's positions is not known to the release.
void is_unknown(Case& c, const char* what, const std::string& way_out) {
  c.fault_of_model(concat(what, ": ", c.release.name(), " does not know it", way_out));
}
std::string serve_with(const std::function<bool(const Release&)>& fact) {
  return concat("; serve with ", since(fact));
}
bool knows_dynamic_ntk(const Release& release) {
  return release.dynamic_ntk != DynamicNtk::kUnknown;
}

void check_rope_theta(Case& c) {
  if (c.release.reads_rope_theta || c.model.rope_theta == kDefaultRopeTheta) return;
  const std::string way_out = serve_with(&Release::reads_rope_theta);
  c.fault(concat("rope_theta = ", c.model.rope_theta, ": ", c.release.name(),
                 " does not read the key and rotates with ", kDefaultRopeTheta, way_out));
  is_unknown(c, "rope_theta other than 10000", way_out);
}

void check_scaling_keys(Case& c) {
  const double factor = c.model.rope_scaling_factor;
  const std::string unread = concat(": ", c.release.name(), " does not read the key");
  if (factor >= 1.0 && !c.release.reads_rope_scaling_factor)
    c.warn(concat("rope_scaling_factor = ", factor, unread));
  const bool stretches =
      c.release.reads_use_dynamic_ntk || (c.release.reads_rope_scaling_factor && factor >= 1.0);
  if (c.model.use_dynamic_ntk && !stretches)
    c.warn(concat("use_dynamic_ntk = 1", unread,
                  "; sessions over max_position_embeddings are served without it"));
  if (c.model.use_logn_attention && !c.release.reads_use_logn_attn)
    c.warn(concat("use_logn_attn = 1", unread));
}

void check_own_scaling(Case& c) {
  const Kind kind = c.model.own_rotation ? c.model.own_rotation->kind : Kind::kNone;
  const bool dynamic = kind == Kind::kDynamic || kind == Kind::kQwen;
  if (kind == Kind::kLinear && !c.release.scales_linearly)
    is_unknown(c, "linear rope_scaling", serve_with(&Release::scales_linearly));
  if (dynamic && !knows_dynamic_ntk(c.release))
    is_unknown(c, "dynamic NTK (rope_scaling)", serve_with(knows_dynamic_ntk));
  if (kind == Kind::kLlama3) is_unknown(c, "rope_scaling of type llama3", "");
  if (c.model.use_logn_attention && !c.release.reads_use_logn_attn)
    is_unknown(c, "use_logn_attn", serve_with(&Release::reads_use_logn_attn));
}

// What is cut by ranks, in both terms.
struct CutSize {
  const char* key;
  const char* what;
  int64_t ModelConfig::*count;
};
constexpr CutSize kCutSizes[] = {
    {"head_num", "heads", &ModelConfig::heads},
    {"kv_head_num", "kv heads", &ModelConfig::kv_heads},
    {"inter_size", "intermediate channels", &ModelConfig::intermediate},
};

void check_stored_ranks(Case& c) {
  if (c.to_be_cut) return;
  const int64_t stored = c.model.stored_ranks;
  if (stored != 1 && stored != c.ranks) {
    c.fault(concat("tensor_para_size = ", stored, ": weights cut for ", stored,
                   " ranks cannot be served with ", c.ranks, "; serve with ", stored,
                   ", or deploy again with --tp ", c.ranks, c.ranks == 1 ? "" : " or --tp 1"));
    return;
  }
  if (stored == 1 && c.ranks > 1 && !c.release.cuts_while_loading)
    c.fault(concat("tensor_para_size = 1: ", c.release.name(), " cannot cut weights for ", c.ranks,
                   " ranks while loading", serve_with(&Release::cuts_while_loading),
                   ", or deploy again with --tp ", c.ranks));
  for (const CutSize& cut : kCutSizes)
    if (c.model.*cut.count % c.ranks != 0)
      c.fault(concat(cut.key, " = ", c.model.*cut.count, ": does not divide among ", c.ranks,
                     " serving ranks; serve with a divisor"));
}

bool may_serve(const Release& release, int64_t ranks) {
  return !release.powers_of_two_only || (ranks & (ranks - 1)) == 0;
}

void check_new_ranks(Case& c) {
  if (!c.to_be_cut) return;
  std::vector<std::pair<const char*, int64_t>> counts;
  for (const CutSize& cut : kCutSizes) counts.emplace_back(cut.what, c.model.*cut.count);
  if (!c.release.pads_rows) counts.emplace_back("tokens of the vocabulary", c.model.vocab);
  int64_t divisor = 0;
  std::string uneven, possible;
  for (const auto& [what, count] : counts) {
    divisor = std::gcd(divisor, count);
    if (count % c.ranks != 0) uneven += concat(uneven.empty() ? "" : ", ", count, ' ', what);
  }
  if (uneven.empty() && may_serve(c.release, c.ranks)) return;
  for (int64_t ranks = 1; ranks <= divisor; ++ranks)
    if (divisor % ranks == 0 && may_serve(c.release, ranks))
      possible += concat(possible.empty() ? "" : ", ", ranks);
  const std::string why = uneven.empty() ? concat(c.release.name(), " takes powers of two only")
                                         : concat("does not divide ", uneven);
  c.fault_of_model(concat("--tp ", c.ranks, ": ", why, "; possible are ", possible));
}

// How many rows of the embedding a release wants to find on disk, and what it does otherwise.
void check_vocabulary(Case& c) {
  const ModelConfig& model = c.model;
  const std::string release = c.release.name();
  if (!c.release.pads_rows && model.vocab % c.ranks != 0)
    c.fault(concat("vocab_size = ", model.vocab, ": ", release, " does not pad it and needs a ",
                   "multiple of ", c.ranks, " serving ranks; serve with a divisor, or with ",
                   since(&Release::pads_rows)));
  const int64_t expected = deployed_rows(model.vocab, c.release, c.ranks);
  if (c.embedding_rows == 0 || c.embedding_rows == expected || !c.release.wants_exact_sizes) return;
  const std::string rounding =
      c.release.pads_rows ? concat(" rounded up to ", c.ranks, " serving ranks") : "";
  c.fault(concat("tok_embeddings.weight: has ", c.embedding_rows, " rows, ", release, " expects ",
                 expected, " (vocab_size = ", model.vocab, rounding, ") and would serve a random ",
                 "embedding; deploy again with --tp ", c.ranks,
                 ", or set vocab_size to the checkpoint's"));
}

void check_head_size(Case& c) {
  if (c.model.head_dim != c.release.head_dim)
    c.warn(concat("size_per_head = ", c.model.head_dim, ": ", c.release.name(),
                  " has attention kernels for ", c.release.head_dim, " only"));
}

constexpr void (*kRules[])(Case&) = {
    check_shape,       check_attention,    check_type,      check_rope_theta, check_scaling_keys,
    check_own_scaling, check_stored_ranks, check_new_ranks, check_vocabulary, check_head_size};

Case judge(Case c) {
  for (const auto& rule : kRules) rule(c);
  return c;
}

const char* name(Kind kind) {
  switch (kind) {
    case Kind::kNone:
      return "none";
    case Kind::kLinear:
      return "linear";
    case Kind::kDynamic:
      return "dynamic";
    case Kind::kLlama3:
      return "llama3";
    case Kind::kQwen:
      return "use_dynamic_ntk";
  }
  return "";
}

}  // namespace

RuntimeFindings findings_in_config(const ServedModel& model, const Release& release) {
  if (model.ranks < 1) return {{concat(model.ranks, " serving ranks: expected 1 or more")}, {}};
  return judge({model.config, release, model.ranks, model.embedding_rows}).found;
}

std::vector<std::string> deploy_faults(const ModelConfig& model, const Release& release,
                                       int64_t ranks) {
  return judge({model, release, ranks, 0, true}).of_model;
}

std::vector<std::string> calibration_warnings(const ServedModel& model, const Release& release) {
  const ModelConfig& config = model.config;
  const std::string runtime = release.name();
  std::vector<std::string> warnings;
  if (model.zero_points && release.scale_values == 2)
    warnings.push_back(concat(runtime, " knows only symmetric scales: zero points are 0"));
  if (config.own_rotation && rotation_on(release, config, model.length) !=
                                 rotation_on(release, as_converted(config, release), model.length))
    warnings.push_back(concat(
        "rotary scaling ", name(config.own_rotation->kind), " at ", model.length, " tokens: ",
        runtime, " rotates K otherwise than the model's own code, whose ranges these are"));
  if (effective_window(config, model.length) > 0)
    warnings.push_back(concat("sliding window of ", config.sliding_window, " tokens: ", runtime,
                              " attends to all ", model.length,
                              " of a window, and its K and V will be others; windows of at most ",
                              config.sliding_window, " tokens (--length) are the same there"));
  if (config.query_key_norm)
    warnings.push_back(concat("q and k are normalised in this model; ", runtime,
                              " does not do that, and cannot serve it"));
  if (config.mlp_bias)
    warnings.push_back(concat("gate, up and down have biases in this model; ", runtime,
                              " has none, and cannot serve it"));
  if (release.longest_int8_prefill > 0 && config.session_length > release.longest_int8_prefill)
    warnings.push_back(concat(
        "session_len = ", config.session_length, ": ", runtime, " prefills int8 KV for up to ",
        release.longest_int8_prefill, " tokens only, and is set to that; serve longer sessions ",
        "with ", since([](const Release& later) { return later.longest_int8_prefill == 0; })));
  return warnings;
}

std::string serving_note(const Release& release) {
  if (!release.api_server_overrides) return "";
  return concat("`lmdeploy serve api_server`", release.pipeline_overrides ? " and pipeline()" : "",
                " of ", release.name(),
                " override config.ini with quant_policy 0: pass quant_policy 4 explicitly");
}

}  // namespace kvcalib
