// SPDX-License-Identifier: Apache-2.0
#include "sharding/files/json_reader.h"

#include <utility>
#include <vector>

#include "sharding/files/error.h"
#include "sharding/files/excerpt.h"
#include "sharding/files/metadata_file.h"

namespace kvcalib {
namespace {

using nlohmann::json;

constexpr int kNumberOverflow = 406;  // nlohmann's id of its exception

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Why the parser stopped behind `position` bytes, where a rule can be named.
std::string broken_rule(std::string_view text, size_t position, const json::exception& failure) {
  if (failure.id == kNumberOverflow) return "a number beyond the range of a double";
  const std::string_view what = failure.what();
  if (has(what, "surrogate"))
    return "half of a surrogate pair (\\ud800 to \\udfff), which is no character";
  if (has(what, "ill-formed UTF-8")) return "the text is not UTF-8";
  const std::string_view rest = text.substr(position > 0 ? position - 1 : 0);
  if (rest.starts_with("NaN") || rest.starts_with("Infinity"))
    return "JSON has no NaN and no Infinity; write null or a number";
  return "";
}

// Between the parser and the events: counts depth, words what is wrong.
class Scan final : public json::json_sax_t {
 public:
  Scan(std::string_view text, JsonEvents& events) : text_(text), events_(events) {}

  std::optional<std::string> fault;

  bool null() override { return pass(json()); }
  bool boolean(bool value) override { return pass(value); }
  bool number_integer(json::number_integer_t value) override { return pass(value); }
  bool number_unsigned(json::number_unsigned_t value) override { return pass(value); }
  bool number_float(json::number_float_t value, const std::string&) override { return pass(value); }
  bool binary(json::binary_t&) override { return false; }  // JSON has none
  bool string(std::string& value) override { return pass(std::move(value)); }
  bool start_object(size_t) override { return enter(true); }
  bool start_array(size_t) override { return enter(false); }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool key(std::string& name) override {
    events_.key(std::move(name));
    return true;
  }
  bool parse_error(size_t position, const std::string&, const json::exception& failure) override {
    const std::string rule = broken_rule(text_, position, failure);
    fault = concat("is not JSON, at byte ", position, rule.empty() ? "" : ": ", rule);
    return false;
  }

 private:
  bool pass(json value) {
    events_.value(std::move(value));
    return true;
  }
  bool enter(bool object) {
    if (++depth_ > kDeepestJson) {
      fault = concat("holds arrays or objects more than ", kDeepestJson, " deep in each other");
      return false;
    }
    events_.begin(object);
    return true;
  }
  bool leave() {
    --depth_;
    events_.end();
    return true;
  }

  std::string_view text_;
  JsonEvents& events_;
  int64_t depth_ = 0;
};

// Puts the pieces together again.
class Builder final : public JsonEvents {
 public:
  explicit Builder(const std::string& origin) : origin_(origin) {}

  json root;

  void value(json value) override { add(std::move(value)); }
  void begin(bool object) override {
    open_.push_back(add(object ? json::object() : json::array()));
  }
  void end() override { open_.pop_back(); }
  void key(std::string name) override { key_ = std::move(name); }

 private:
  json* add(json value) {
    if (open_.empty()) return &(root = std::move(value));
    json& parent = *open_.back();
    if (parent.is_array()) return &parent.emplace_back(std::move(value));
    const auto stated = parent.find(key_);
    if (stated == parent.end()) return &(parent[key_] = std::move(value));
    if (value.is_structured() || *stated != value)
      throw Error(concat(origin_, ": states '", excerpt(key_), "' twice; keep one of the two"));
    return &*stated;
  }

  const std::string& origin_;
  std::vector<json*> open_;  // the arrays and objects around the next value
  std::string key_;
};

}  // namespace

std::optional<std::string> scan_json(std::string_view text, JsonEvents& events) {
  const size_t nul = text.find('\0');  // where the parser would stop without complaint
  Scan scan(text, events);
  if (json::sax_parse(text.substr(0, nul), &scan) && nul != std::string_view::npos)
    return concat("is not JSON, at byte ", nul + 1, ": a zero byte");
  return std::move(scan.fault);
}

json parse_json(std::string_view text, const std::string& origin) {
  Builder builder(origin);
  if (const auto fault = scan_json(text, builder)) throw Error(concat(origin, ": ", *fault));
  return std::move(builder.root);
}

json read_json(const std::filesystem::path& file) {
  return parse_json(read_metadata_file(file), file.string());
}

std::string json_excerpt(const json& value) {
  return excerpt(value.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace kvcalib
